-- A dataset's typed files where they are. By DDL: given to the API, this schema loses the folders' columns.
CREATE OR REPLACE EXTERNAL TABLE ${table} (
${columns}
)${partitions}
OPTIONS (${options})
