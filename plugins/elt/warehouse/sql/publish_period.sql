-- Replace one period by what was staged, and say so in the load log: all of it or nothing.
BEGIN TRANSACTION;
DELETE FROM ${table} WHERE ${period} = @${period};
INSERT INTO ${table} (${period}, ${columns}) SELECT @${period}, ${columns} FROM ${staging};
${log};
COMMIT TRANSACTION;
