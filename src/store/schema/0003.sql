-- Version 3: where a device is found by drivers that call it.

ALTER TABLE device ADD COLUMN address TEXT NOT NULL DEFAULT '';
