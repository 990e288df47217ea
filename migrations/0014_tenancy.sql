-- Row-level security: whoever acts for one business sees and writes its rows alone, whatever a query
-- forgets to say. `deploy/postgres-roles.sql` lets the application act as either role.

DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'apptremind_system') THEN
    CREATE ROLE apptremind_system NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this server
END $$;

-- What the application could do so far is what the system may do.
GRANT USAGE ON SCHEMA public, availability, agenda, notifications, audit TO apptremind_system;
GRANT SELECT, INSERT, UPDATE, DELETE
  ON ALL TABLES IN SCHEMA public, availability, agenda, notifications, audit TO apptremind_system;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO apptremind_system;
REVOKE ALL ON _sqlx_migrations FROM apptremind_system;
GRANT SELECT ON _sqlx_migrations TO apptremind_system;
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM apptremind_system;

-- Who signs in, and how far readers of the log are, is no tenant's.
REVOKE ALL ON app_user, refresh_token, session, reset_wish, password_reset, signing_key, quota
  FROM apptremind_app;
REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM apptremind_app;
REVOKE INSERT, UPDATE, DELETE ON relay_cursor, consumer_checkpoint FROM apptremind_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON invitation, api_key, membership TO apptremind_app;

-- Each table that says whose its rows are, but for the directory: it is how a business is found.
DO $$ DECLARE
  owned record;
BEGIN
  FOR owned IN
    SELECT c.oid::regclass AS name
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relkind = 'r' AND a.attname = 'business_id' AND NOT a.attisdropped
       AND c.relnamespace IN ('public'::regnamespace, 'availability'::regnamespace,
                              'agenda'::regnamespace, 'notifications'::regnamespace,
                              'audit'::regnamespace)
       AND c.oid <> 'directory'::regclass
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', owned.name);
    -- In a subquery it is computed once and not for each row. Nobody's rows when nothing was said.
    EXECUTE format(
      'CREATE POLICY tenant ON %s TO apptremind_app USING (business_id =
         (SELECT nullif(current_setting(''apptremind.business_id'', true), '''')::uuid))',
      owned.name);
    EXECUTE format('CREATE POLICY system ON %s TO apptremind_system USING (true)', owned.name);
  END LOOP;
END $$;
