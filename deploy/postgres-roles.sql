-- The roles and the database that ApptRemind expects. Harmless to run again. For psql 15 or newer, as a superuser.
--
-- apptremind_owner  owns the database and runs `apptremind migrate`
-- apptremind_app     the rights of the running application when it acts for one business, granted by the migrations
-- apptremind_system  its rights when it acts for all of them; nobody signs in as either
-- apptremind         the running application. Without being told otherwise it acts for one business, and sees none
--                    before it says which
--
-- The passwords come from the environment: APPTREMIND_OWNER_PASSWORD and APPTREMIND_APP_PASSWORD.
\getenv owner_password APPTREMIND_OWNER_PASSWORD
\getenv app_password APPTREMIND_APP_PASSWORD

SELECT format('CREATE ROLE %I', role)
FROM unnest(ARRAY['apptremind_owner', 'apptremind_app', 'apptremind_system', 'apptremind']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

ALTER ROLE apptremind_owner LOGIN CREATEROLE PASSWORD :'owner_password';
ALTER ROLE apptremind_app NOLOGIN;
ALTER ROLE apptremind_system NOLOGIN;
ALTER ROLE apptremind LOGIN PASSWORD :'app_password';

ALTER ROLE apptremind SET role = 'apptremind_app';

GRANT apptremind_app, apptremind_system TO apptremind;
GRANT apptremind_app, apptremind_system TO apptremind_owner WITH ADMIN OPTION;

SELECT 'CREATE DATABASE apptremind OWNER apptremind_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'apptremind') \gexec
