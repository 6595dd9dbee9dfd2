-- Version 1. Times are milliseconds since 1970 (struct wall); states are their names in model/;
-- unsigned 64-bit numbers are kept bit for bit in SQLite's signed integers.

CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- Resource Directory. The lease is apart because it changes with every registration update, the rest hardly ever.
CREATE TABLE registration (
	location TEXT PRIMARY KEY,
	endpoint TEXT NOT NULL,
	sector TEXT NOT NULL,
	base BLOB NOT NULL,
	base_is_explicit INTEGER NOT NULL,
	lifetime_s INTEGER NOT NULL,
	ord INTEGER NOT NULL,
	attributes BLOB NOT NULL,
	links BLOB NOT NULL,
	owner TEXT NOT NULL,
	device TEXT NOT NULL
);
CREATE TABLE registration_lease (
	location TEXT PRIMARY KEY REFERENCES registration (location) ON DELETE CASCADE,
	expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE device (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	state TEXT NOT NULL,
	vendor_id BLOB,
	class_id BLOB,
	hw_revision TEXT NOT NULL,
	wake_kind TEXT NOT NULL,
	wake_period_s INTEGER NOT NULL,
	wake_window_s INTEGER NOT NULL,
	proof TEXT NOT NULL,
	driver TEXT NOT NULL,
	identity TEXT NOT NULL,
	enrolled_at INTEGER NOT NULL,
	last_seen INTEGER NOT NULL,
	last_addr TEXT NOT NULL
);
CREATE TABLE device_component (
	device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
	pos INTEGER NOT NULL,
	id BLOB NOT NULL,
	sequence INTEGER,
	manifest BLOB,
	version TEXT NOT NULL,
	PRIMARY KEY (device, pos)
) WITHOUT ROWID;

CREATE TABLE credential (
	identity TEXT NOT NULL,
	kind INTEGER NOT NULL,
	roles INTEGER NOT NULL,
	secret BLOB NOT NULL,
	device TEXT NOT NULL,
	PRIMARY KEY (identity, kind)
) WITHOUT ROWID;

CREATE TABLE updates (
	id TEXT PRIMARY KEY,
	state TEXT NOT NULL,
	envelope BLOB NOT NULL,
	envelope_bytes INTEGER NOT NULL,
	sequence INTEGER NOT NULL,
	source TEXT NOT NULL,
	uri TEXT NOT NULL,
	anchor TEXT NOT NULL,
	description TEXT NOT NULL,
	version TEXT NOT NULL,
	approved INTEGER NOT NULL,
	approved_by TEXT NOT NULL,
	found_at INTEGER NOT NULL,
	state_at INTEGER NOT NULL,
	approved_at INTEGER NOT NULL,
	use_before_s INTEGER,
	reason TEXT NOT NULL
);
CREATE TABLE update_component (
	update_id TEXT NOT NULL REFERENCES updates (id) ON DELETE CASCADE,
	pos INTEGER NOT NULL,
	id BLOB NOT NULL,
	vendor_ids BLOB NOT NULL,
	class_ids BLOB NOT NULL,
	PRIMARY KEY (update_id, pos)
) WITHOUT ROWID;
CREATE TABLE update_image (
	update_id TEXT NOT NULL REFERENCES updates (id) ON DELETE CASCADE,
	pos INTEGER NOT NULL,
	digest BLOB NOT NULL,
	bytes INTEGER NOT NULL,
	uri TEXT NOT NULL,
	component INTEGER NOT NULL,
	is_integrated INTEGER NOT NULL,
	is_cached INTEGER NOT NULL,
	PRIMARY KEY (update_id, pos)
) WITHOUT ROWID;
CREATE TABLE update_verdict (
	update_id TEXT PRIMARY KEY REFERENCES updates (id) ON DELETE CASCADE,
	verdict BLOB NOT NULL
);

CREATE TABLE sequence (
	vendor_id BLOB NOT NULL,
	class_id BLOB NOT NULL,
	component BLOB NOT NULL,
	sequence INTEGER NOT NULL,
	manifest BLOB NOT NULL,
	PRIMARY KEY (vendor_id, class_id, component)
) WITHOUT ROWID;

CREATE TABLE revocation (
	key TEXT PRIMARY KEY,
	url TEXT NOT NULL,
	kind INTEGER NOT NULL,
	der BLOB NOT NULL,
	fetched_at INTEGER NOT NULL
);

CREATE TABLE source (
	name TEXT PRIMARY KEY,
	etag TEXT NOT NULL,
	last_modified TEXT NOT NULL,
	last_envelope BLOB NOT NULL,
	polled_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE rollout (
	id TEXT PRIMARY KEY,
	update_id TEXT NOT NULL,
	state TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	state_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE job (
	id TEXT PRIMARY KEY,
	update_id TEXT NOT NULL,
	device TEXT NOT NULL,
	rollout TEXT NOT NULL,
	state TEXT NOT NULL,
	sent_bytes INTEGER NOT NULL,
	total_bytes INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	result INTEGER NOT NULL,
	reason TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	state_at INTEGER NOT NULL
) WITHOUT ROWID;

-- The audit log: leaves in order, and every complete node of the hash tree over them (level 0 = leaf hashes).
CREATE TABLE audit_entry (
	idx INTEGER PRIMARY KEY,
	subject TEXT NOT NULL,
	entry BLOB NOT NULL
);
CREATE INDEX audit_entry_subject ON audit_entry (subject, idx);
CREATE TABLE audit_node (
	level INTEGER NOT NULL,
	idx INTEGER NOT NULL,
	hash BLOB NOT NULL,
	PRIMARY KEY (level, idx)
) WITHOUT ROWID;
CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_node_no_update BEFORE UPDATE ON audit_node BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_node_no_delete BEFORE DELETE ON audit_node BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
