-- The roles and the database that ApptRemind expects. Harmless to run again. For psql 15 or newer, as a superuser.
--
-- apptremind_owner  owns the database and runs `apptremind migrate`
-- apptremind_app    the rights of the running application, granted by the migrations; nobody signs in as it
-- apptremind        the running application
--
-- The passwords come from the environment: APPTREMIND_OWNER_PASSWORD and APPTREMIND_APP_PASSWORD.
\getenv owner_password APPTREMIND_OWNER_PASSWORD
\getenv app_password APPTREMIND_APP_PASSWORD

SELECT format('CREATE ROLE %I', role)
FROM unnest(ARRAY['apptremind_owner', 'apptremind_app', 'apptremind']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

ALTER ROLE apptremind_owner LOGIN CREATEROLE PASSWORD :'owner_password';
ALTER ROLE apptremind_app NOLOGIN;
ALTER ROLE apptremind LOGIN PASSWORD :'app_password';

GRANT apptremind_app TO apptremind;
GRANT apptremind_app TO apptremind_owner WITH ADMIN OPTION;

SELECT 'CREATE DATABASE apptremind OWNER apptremind_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'apptremind') \gexec
