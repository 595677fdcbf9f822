-- Replace periods by what was staged, and say so in the load log: all of it or nothing.
BEGIN TRANSACTION;
DELETE FROM ${table} WHERE ${period} IN (${periods});
INSERT INTO ${table} (${period}, ${columns}) ${rows};
${log};
COMMIT TRANSACTION;
