#!/bin/sh
# The role that owns the database of Orderworks, no superuser. PostgreSQL's image runs this once, on
# an empty volume. psql reads the password itself: on a command line, everyone would see it.
set -eu
: "${DATABASE_PASSWORD_FILE:?names the file that holds the password of the role orderworks}"
test -s "$DATABASE_PASSWORD_FILE"

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\set password `cat "$DATABASE_PASSWORD_FILE"`
CREATE ROLE orderworks LOGIN PASSWORD :'password';
CREATE DATABASE orderworks OWNER orderworks;
REVOKE CONNECT, TEMPORARY ON DATABASE orderworks FROM PUBLIC;
SQL
