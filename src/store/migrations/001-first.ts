// Sealed values by name, and which of them belong to which credential's issuer key.
export const sql = `
CREATE TABLE sealed (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  purpose TEXT NOT NULL,
  sealed BLOB NOT NULL,
  fingerprint TEXT NOT NULL,
  created INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
`
