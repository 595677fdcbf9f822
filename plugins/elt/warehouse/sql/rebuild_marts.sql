-- Rebuild periods of one dataset in every mart it feeds, and say so in the load log: all of it or nothing.
BEGIN TRANSACTION;
${rebuilds};
${log};
COMMIT TRANSACTION;
