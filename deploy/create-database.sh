#!/bin/sh
# Create the database of Orderworks and the role that owns it, which is no superuser. PostgreSQL's image
# runs this once, on an empty volume. psql reads the password: every user can see a command line.
set -eu
: "${DATABASE_PASSWORD_FILE:?must name the file with the password of the role orderworks}"
test -s "$DATABASE_PASSWORD_FILE"

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\set password `cat "$DATABASE_PASSWORD_FILE"`
CREATE ROLE orderworks LOGIN PASSWORD :'password';
CREATE DATABASE orderworks OWNER orderworks;
REVOKE CONNECT, TEMPORARY ON DATABASE orderworks FROM PUBLIC;
SQL
