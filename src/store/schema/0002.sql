-- Version 2: multicast. A group's key is a secret, as credential.secret is; losses are 16-bit numbers, big-endian;
-- members are device ids, each ended by a zero byte.

CREATE TABLE mcast_group (
	name TEXT PRIMARY KEY,
	gid INTEGER NOT NULL,
	key BLOB NOT NULL,
	counter INTEGER NOT NULL,
	losses BLOB NOT NULL,
	members BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE mcast_session (
	sid BLOB PRIMARY KEY,
	group_name TEXT NOT NULL,
	manifest BLOB NOT NULL,
	image BLOB NOT NULL,
	snapshot BLOB NOT NULL
);
