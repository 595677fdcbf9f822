-- Replace one month by what was staged, and say so in the load log: all of it or nothing.
BEGIN TRANSACTION;
DELETE FROM ${table} WHERE source_month = @source_month;
INSERT INTO ${table} (source_month, ${columns}) SELECT @source_month, ${columns} FROM ${staging};
${log};
COMMIT TRANSACTION;
