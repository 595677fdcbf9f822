-- Replace a dataset without periods by what was staged, and say so in the load log: all of it or nothing.
BEGIN TRANSACTION;
DELETE FROM ${table} WHERE TRUE;
INSERT INTO ${table} (${columns}) SELECT ${columns} FROM ${staging};
${log};
COMMIT TRANSACTION;
