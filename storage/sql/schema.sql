-- The schema after every migration, for reading: nothing runs this file.
-- `python -m tests.support.schema` writes it; a test compares.
CREATE SCHEMA control;

CREATE SCHEMA jobs;

CREATE SCHEMA tenantry;

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

CREATE FUNCTION control.announce() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    update control.version set version = version + 1;
    perform pg_notify('tenantry_control', '');
    return null;
end $$;

CREATE FUNCTION control.merged(p_limits jsonb, p_said jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT COALESCE(jsonb_object_agg(s.key, s.value), '{}'::jsonb) AS "coalesce"
    FROM jsonb_each((merged.p_limits || merged.p_said)) s(key, value)
   WHERE (s.value <> '""'::jsonb);
END;

CREATE TABLE control.tenants (
    tenant_id text NOT NULL,
    display_name text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    plan_id text NOT NULL,
    cell_id text DEFAULT 'first'::text NOT NULL,
    placement text DEFAULT 'shared'::text NOT NULL,
    preferences jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    limits jsonb DEFAULT '{}'::jsonb NOT NULL,
    promoted boolean,
    CONSTRAINT tenants_limits_check CHECK ((jsonb_typeof(limits) = 'object'::text)),
    CONSTRAINT tenants_placement_check CHECK ((placement = ANY (ARRAY['shared'::text, 'dedicated'::text, 'hybrid'::text]))),
    CONSTRAINT tenants_status_check CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text]))),
    CONSTRAINT tenants_tenant_id_check CHECK ((tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
);

CREATE FUNCTION control.limit_tenant(p_tenant text, p_said jsonb) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 UPDATE control.tenants SET limits = control.merged(tenants.limits, limit_tenant.p_said)
   WHERE (tenants.tenant_id = limit_tenant.p_tenant)
   RETURNING 'done'::text;
END;

CREATE FUNCTION control.merge_user_limits(p_tenant text, p_subject text, p_said jsonb, p_narrowed jsonb) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_old      control.user_limits;
    v_limits   jsonb;
    v_narrowed jsonb;
begin
    perform from control.tenants t where t.tenant_id = p_tenant for no key update; -- one at a time counts
    if not found then
        return 'missing';
    end if;
    select * into v_old from control.user_limits u where u.tenant_id = p_tenant and u.subject_id = p_subject;
    v_limits := control.merged(coalesce(v_old.limits, '{}'), p_said);
    v_narrowed := control.merged(coalesce(v_old.narrowed, '{}'), p_narrowed);
    if v_limits = '{}' and v_narrowed = '{}' then
        if v_old.tenant_id is not null then
            delete from control.user_limits u where u.tenant_id = p_tenant and u.subject_id = p_subject;
        end if;
        return 'done';
    elsif v_old.tenant_id is null
          and (select count(*) >= 1000 from control.user_limits u where u.tenant_id = p_tenant) then
        return 'full';
    end if;
    insert into control.user_limits values (p_tenant, p_subject, v_limits, v_narrowed)
    on conflict (tenant_id, subject_id) do update set limits = excluded.limits, narrowed = excluded.narrowed;
    return 'done';
end $$;

CREATE FUNCTION control.limit_user(p_tenant text, p_subject text, p_said jsonb) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT control.merge_user_limits(p_tenant, p_subject, p_said, '{}'::jsonb) AS merge_user_limits;
END;

CREATE TABLE control.plan_limits (
    plan_id text NOT NULL,
    limits jsonb NOT NULL,
    CONSTRAINT plan_limits_limits_check CHECK ((jsonb_typeof(limits) = 'object'::text))
);

CREATE TABLE control.plans (
    plan_id text NOT NULL,
    requests_per_minute bigint NOT NULL,
    burst bigint NOT NULL,
    concurrent_runs bigint NOT NULL,
    tokens_per_minute bigint NOT NULL,
    tokens_per_day bigint NOT NULL,
    tokens_per_month bigint NOT NULL,
    max_output_tokens bigint NOT NULL,
    documents bigint NOT NULL,
    models text[] NOT NULL,
    tools text[] NOT NULL,
    CONSTRAINT plans_plan_id_check CHECK ((plan_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
);

CREATE TABLE control.user_limits (
    tenant_id text NOT NULL,
    subject_id text NOT NULL,
    limits jsonb DEFAULT '{}'::jsonb NOT NULL,
    narrowed jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT user_limits_limits_check CHECK ((jsonb_typeof(limits) = 'object'::text)),
    CONSTRAINT user_limits_narrowed_check CHECK ((jsonb_typeof(narrowed) = 'object'::text)),
    CONSTRAINT user_limits_subject_id_check CHECK ((subject_id <> ''::text))
);

CREATE FUNCTION control.limits_of(p_tenant text) RETURNS TABLE(tenant_id text, plan jsonb, plan_limits jsonb, limits jsonb, users jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT t.tenant_id,
     to_jsonb(p.*) AS to_jsonb,
     COALESCE(l.limits, '{}'::jsonb) AS "coalesce",
     t.limits,
     ( SELECT jsonb_object_agg(u.subject_id, jsonb_build_array(u.limits, u.narrowed)) AS jsonb_object_agg
            FROM control.user_limits u
           WHERE (u.tenant_id = t.tenant_id)) AS jsonb_object_agg
    FROM ((control.tenants t
      JOIN control.plans p USING (plan_id))
      LEFT JOIN control.plan_limits l USING (plan_id))
   WHERE (t.tenant_id = limits_of.p_tenant);
END;

CREATE TABLE control.issuers (
    url text NOT NULL,
    audience text NOT NULL,
    jwks jsonb DEFAULT '{}'::jsonb NOT NULL,
    tenants text[],
    platform boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rules jsonb DEFAULT '{}'::jsonb NOT NULL,
    jwks_url text,
    CONSTRAINT issuers_jwks_url_check CHECK ((jwks_url ~~ 'https://%'::text)),
    CONSTRAINT issuers_rules_check CHECK ((jsonb_typeof(rules) = 'object'::text))
);

CREATE FUNCTION control.list_issuers(p_after text, p_limit integer) RETURNS TABLE(url text, audience text, jwks jsonb, jwks_url text, tenants text[], platform boolean, rules jsonb, created_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT i.url,
     i.audience,
     i.jwks,
     i.jwks_url,
     i.tenants,
     i.platform,
     i.rules,
     i.created_at
    FROM control.issuers i
   WHERE ((list_issuers.p_after IS NULL) OR (i.url > list_issuers.p_after))
   ORDER BY i.url
  LIMIT list_issuers.p_limit;
END;

CREATE FUNCTION control.list_plans(p_after text, p_limit integer) RETURNS TABLE(plan jsonb, limits jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT to_jsonb(p.*) AS to_jsonb,
     COALESCE(l.limits, '{}'::jsonb) AS "coalesce"
    FROM (control.plans p
      LEFT JOIN control.plan_limits l USING (plan_id))
   WHERE ((list_plans.p_after IS NULL) OR (p.plan_id > list_plans.p_after))
   ORDER BY p.plan_id
  LIMIT list_plans.p_limit;
END;

CREATE TABLE control.prices (
    model text NOT NULL,
    input_nanos bigint NOT NULL,
    output_nanos bigint NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT prices_input_nanos_check CHECK (((input_nanos >= 0) AND (input_nanos <= '1000000000000'::bigint))),
    CONSTRAINT prices_model_check CHECK (((length(model) >= 1) AND (length(model) <= 128))),
    CONSTRAINT prices_output_nanos_check CHECK (((output_nanos >= 0) AND (output_nanos <= '1000000000000'::bigint)))
);

CREATE FUNCTION control.list_prices(p_after text, p_limit integer) RETURNS TABLE(model text, input_nanos bigint, output_nanos bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT p.model,
     p.input_nanos,
     p.output_nanos
    FROM control.prices p
   WHERE ((list_prices.p_after IS NULL) OR (p.model > list_prices.p_after))
   ORDER BY p.model
  LIMIT list_prices.p_limit;
END;

CREATE TABLE control.profiles (
    name text NOT NULL,
    says jsonb NOT NULL,
    CONSTRAINT profiles_says_check CHECK ((jsonb_typeof(says) = 'object'::text))
);

CREATE FUNCTION control.list_profiles() RETURNS TABLE(name text, says jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT p.name,
     p.says
    FROM control.profiles p
   ORDER BY p.name;
END;

CREATE TABLE control.revocations (
    tenant_id text NOT NULL,
    subject_id text DEFAULT ''::text NOT NULL,
    issuer text DEFAULT ''::text NOT NULL,
    token_id text DEFAULT ''::text NOT NULL,
    revoked_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT revocations_check CHECK (((issuer = ''::text) = (token_id = ''::text))),
    CONSTRAINT revocations_check1 CHECK (((token_id = ''::text) OR (subject_id = ''::text)))
);

CREATE FUNCTION control.list_revocations(p_tenant text) RETURNS TABLE(tenant_id text, subject text, issuer text, token_id text, revoked_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT r.tenant_id,
     r.subject_id,
     r.issuer,
     r.token_id,
     r.revoked_at
    FROM control.revocations r
   WHERE (r.tenant_id = list_revocations.p_tenant)
   ORDER BY r.revoked_at, r.subject_id, r.issuer, r.token_id;
END;

CREATE TABLE control.universal_assistants (
    slug text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    content jsonb NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT universal_assistants_content_check CHECK ((jsonb_typeof(content) = 'object'::text)),
    CONSTRAINT universal_assistants_slug_check CHECK (((slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text) AND (slug <> 'default'::text)))
);

CREATE FUNCTION control.list_universal_assistants() RETURNS TABLE(slug text, version integer, content jsonb, changed_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT a.slug,
     a.version,
     a.content,
     a.changed_at
    FROM control.universal_assistants a
   ORDER BY a.slug;
END;

CREATE FUNCTION control.lock_plan(p_plan text) RETURNS TABLE(plan jsonb, limits jsonb)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform from control.plans p where p.plan_id = p_plan for update;
    return query
    select to_jsonb(p), coalesce(l.limits, '{}')
      from control.plans p left join control.plan_limits l using (plan_id) where p.plan_id = p_plan;
end $$;

CREATE FUNCTION control.put_issuer(p_url text, p_audience text, p_jwks jsonb, p_jwks_url text, p_tenants text[], p_platform boolean, p_rules jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.issuers (url, audience, jwks, jwks_url, tenants, platform, rules)
   VALUES (put_issuer.p_url, put_issuer.p_audience, put_issuer.p_jwks, put_issuer.p_jwks_url, put_issuer.p_tenants, put_issuer.p_platform, put_issuer.p_rules) ON CONFLICT(url) DO UPDATE SET audience = excluded.audience, jwks = excluded.jwks, jwks_url = excluded.jwks_url, tenants = excluded.tenants, platform = excluded.platform, rules = excluded.rules;
END;

CREATE FUNCTION control.put_plan(p_plan jsonb, p_limits jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.plans (plan_id, requests_per_minute, burst, concurrent_runs, tokens_per_minute, tokens_per_day, tokens_per_month, max_output_tokens, documents, models, tools)  SELECT r.plan_id,
             r.requests_per_minute,
             r.burst,
             r.concurrent_runs,
             r.tokens_per_minute,
             r.tokens_per_day,
             r.tokens_per_month,
             r.max_output_tokens,
             r.documents,
             r.models,
             r.tools
            FROM jsonb_populate_record(NULL::control.plans, put_plan.p_plan) r(plan_id, requests_per_minute, burst, concurrent_runs, tokens_per_minute, tokens_per_day, tokens_per_month, max_output_tokens, documents, models, tools) ON CONFLICT(plan_id) DO UPDATE SET requests_per_minute = excluded.requests_per_minute, burst = excluded.burst, concurrent_runs = excluded.concurrent_runs, tokens_per_minute = excluded.tokens_per_minute, tokens_per_day = excluded.tokens_per_day, tokens_per_month = excluded.tokens_per_month, max_output_tokens = excluded.max_output_tokens, documents = excluded.documents, models = excluded.models, tools = excluded.tools;
 INSERT INTO control.plan_limits (plan_id, limits)
   VALUES ((put_plan.p_plan ->> 'plan_id'::text), put_plan.p_limits) ON CONFLICT(plan_id) DO UPDATE SET limits = excluded.limits;
END;

CREATE FUNCTION control.put_price(p_model text, p_input_nanos bigint, p_output_nanos bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.prices (model, input_nanos, output_nanos)
   VALUES (put_price.p_model, put_price.p_input_nanos, put_price.p_output_nanos) ON CONFLICT(model) DO UPDATE SET input_nanos = excluded.input_nanos, output_nanos = excluded.output_nanos, changed_at = now();
END;

CREATE FUNCTION control.put_profile(p_name text, p_says jsonb) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.profiles (name, says)  SELECT put_profile.p_name AS p_name,
             put_profile.p_says AS p_says
           WHERE ((put_profile.p_name = ''::text) OR (EXISTS ( SELECT
                    FROM control.plans p
                   WHERE (p.plan_id = put_profile.p_name)))) ON CONFLICT(name) DO UPDATE SET says = excluded.says
   RETURNING true;
END;

CREATE FUNCTION control.put_universal_assistant(p_slug text, p_content jsonb, p_most integer) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.universal_assistants AS a (slug, content)  SELECT put_universal_assistant.p_slug AS p_slug,
             put_universal_assistant.p_content AS p_content
           WHERE (( SELECT count(*) AS count
                    FROM control.universal_assistants u
                   WHERE (u.slug <> put_universal_assistant.p_slug)) < put_universal_assistant.p_most) ON CONFLICT(slug) DO UPDATE SET content = excluded.content, version = (a.version + 1), changed_at = now()
   RETURNING a.version;
END;

CREATE FUNCTION control.remove_issuer(p_url text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 DELETE FROM control.issuers
   WHERE (issuers.url = remove_issuer.p_url)
   RETURNING true;
END;

CREATE FUNCTION control.remove_price(p_model text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 DELETE FROM control.prices
   WHERE (prices.model = remove_price.p_model)
   RETURNING true;
END;

CREATE FUNCTION control.remove_universal_assistant(p_slug text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 DELETE FROM control.universal_assistants
   WHERE (universal_assistants.slug = remove_universal_assistant.p_slug)
   RETURNING true;
END;

CREATE FUNCTION control.revoke(p_tenant text, p_subject text, p_issuer text, p_token text) RETURNS timestamp with time zone
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.revocations (tenant_id, subject_id, issuer, token_id)  SELECT t.tenant_id,
             revoke.p_subject AS p_subject,
             revoke.p_issuer AS p_issuer,
             revoke.p_token AS p_token
            FROM control.tenants t
           WHERE (t.tenant_id = revoke.p_tenant) ON CONFLICT(tenant_id, subject_id, issuer, token_id) DO UPDATE SET revoked_at = now()
   RETURNING revocations.revoked_at;
END;

CREATE FUNCTION control.set_status(p_tenant text, p_status text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 UPDATE control.tenants SET status = set_status.p_status
   WHERE (tenants.tenant_id = set_status.p_tenant)
   RETURNING true;
END;

CREATE TABLE control.corpora (
    corpus_id text NOT NULL,
    title text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT corpora_title_check CHECK (((length(title) >= 1) AND (length(title) <= 200)))
);

CREATE TABLE control.subscriptions (
    tenant_id text NOT NULL,
    corpus_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT subscriptions_check CHECK ((tenant_id <> corpus_id))
);

CREATE FUNCTION control.subscribe(p_tenant text, p_corpus text, p_most integer) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT t.tenant_id
    FROM control.tenants t
   WHERE (t.tenant_id = subscribe.p_tenant)
  FOR UPDATE OF t;
 WITH allowed AS (
          SELECT (( SELECT count(*) AS count
                    FROM control.subscriptions s
                   WHERE ((s.tenant_id = subscribe.p_tenant) AND (s.corpus_id <> subscribe.p_corpus))) < subscribe.p_most) AS room
            FROM control.corpora c
           WHERE ((c.corpus_id = subscribe.p_corpus) AND (NOT (EXISTS ( SELECT
                    FROM control.corpora o
                   WHERE (o.corpus_id = subscribe.p_tenant)))))
         ), made AS (
          INSERT INTO control.subscriptions (tenant_id, corpus_id)  SELECT subscribe.p_tenant AS p_tenant,
                     subscribe.p_corpus AS p_corpus
                    FROM allowed a
                   WHERE a.room ON CONFLICT(tenant_id, corpus_id) DO NOTHING
         )
  SELECT COALESCE(( SELECT
                 CASE
                     WHEN a.room THEN 'done'::text
                     ELSE 'full'::text
                 END AS "case"
            FROM allowed a), 'missing'::text) AS "coalesce";
END;

CREATE FUNCTION control.unsubscribe(p_tenant text, p_corpus text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 DELETE FROM control.subscriptions s
   WHERE ((s.tenant_id = unsubscribe.p_tenant) AND (s.corpus_id = unsubscribe.p_corpus))
   RETURNING true;
END;

CREATE FUNCTION tenantry.current_tenant() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_tenant text := nullif(current_setting('app.tenant_id', true), '');
    v_seal   text := current_setting('app.tenant_seal', true);
begin
    perform from control.seal_keys k
      where sha256(convert_to(v_seal, 'UTF8')) = sha256(convert_to(encode(sha256(
            k.outer_pad || sha256(k.inner_pad || convert_to(v_tenant, 'UTF8'))), 'hex'), 'UTF8'));
    return case when found then v_tenant end;
end $$;

CREATE TABLE control.api_keys (
    key_id uuid NOT NULL,
    tenant_id text NOT NULL,
    digest bytea NOT NULL,
    subject_id text NOT NULL,
    role text NOT NULL,
    scopes text[] DEFAULT '{}'::text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    replaced_by uuid,
    CONSTRAINT api_keys_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT api_keys_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'member'::text, 'admin'::text, 'service'::text])))
);

CREATE FUNCTION tenantry.add_key(p_key_id uuid, p_digest bytea, p_subject text, p_role text, p_scopes text[], p_expires timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.api_keys (key_id, tenant_id, digest, subject_id, role, scopes, expires_at)
   VALUES (add_key.p_key_id, tenantry.current_tenant(), add_key.p_digest, add_key.p_subject, add_key.p_role, add_key.p_scopes, add_key.p_expires)
   RETURNING api_keys.created_at;
END;

CREATE TABLE control.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE FUNCTION tenantry.applied_migrations() RETURNS TABLE(number integer, checksum text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT m.number,
     m.checksum
    FROM control.migrations m
   ORDER BY m.number;
END;

CREATE FUNCTION tenantry.authenticate_key(p_digest bytea) RETURNS TABLE(key_id uuid, tenant_id text, subject_id text, role text, scopes text[], created_at timestamp with time zone, expires_at timestamp with time zone, revoked_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.key_id,
     k.tenant_id,
     k.subject_id,
     k.role,
     k.scopes,
     k.created_at,
     k.expires_at,
     k.revoked_at
    FROM control.api_keys k
   WHERE (k.digest = authenticate_key.p_digest);
END;

CREATE FUNCTION tenantry.claim_fetch(p_platform text, p_only text, p_holder uuid, p_lease_seconds double precision) RETURNS TABLE(tenant_id text, document_id uuid, tries integer, deaths integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    v_tenant text;
begin
    if p_platform is distinct from '*' or tenantry.current_tenant() is distinct from p_platform then
        return;
    end if;
    select l.tenant_id into v_tenant
      from jobs.lines l join control.tenants t on t.tenant_id = l.tenant_id and t.status = 'active'
     where l.fetches > 0 and (p_only is null or l.tenant_id = p_only)
       and exists (select from jobs.ingestions j
                    where j.tenant_id = l.tenant_id and j.to_fetch and j.due_at <= now())
       and not exists (select from jobs.ingestions h where h.tenant_id = l.tenant_id and h.to_fetch
                          and h.holder is not null and h.held_until > now())
     order by l.fetched_at, l.tenant_id limit 1 for update of l skip locked;
    if v_tenant is null or exists (select from jobs.ingestions h where h.tenant_id = v_tenant and h.to_fetch
                                      and h.holder is not null and h.held_until > now()) then
        return;
    end if;
    update jobs.lines l set fetched_at = clock_timestamp() where l.tenant_id = v_tenant;
    return query
    update jobs.ingestions j
       set deaths = j.deaths + (j.holder is not null)::int, holder = p_holder,
           held_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
     where j.tenant_id = v_tenant and j.document_id = (
               select n.document_id from jobs.ingestions n
                where n.tenant_id = v_tenant and n.to_fetch and n.due_at <= now()
                order by n.due_at, n.document_id limit 1 for update skip locked)
    returning j.tenant_id, j.document_id, j.tries, j.deaths;
end $$;

CREATE FUNCTION tenantry.claim_ingestion(p_platform text, p_only text, p_holder uuid, p_lease_seconds double precision) RETURNS TABLE(tenant_id text, document_id uuid, tries integer, deaths integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    v_tenant text;
begin
    if p_platform is distinct from '*' or tenantry.current_tenant() is distinct from p_platform then
        return;
    end if;
    select l.tenant_id into v_tenant
      from jobs.lines l join control.tenants t on t.tenant_id = l.tenant_id and t.status = 'active'
     where l.jobs > 0 and (p_only is null or l.tenant_id = p_only)
       and exists (select from jobs.ingestions j
                    where j.tenant_id = l.tenant_id and not j.to_fetch and j.due_at <= now())
       and not exists (select from jobs.ingestions h where h.tenant_id = l.tenant_id and not h.to_fetch
                          and h.holder is not null and h.held_until > now())
     order by l.served_at, l.tenant_id limit 1 for update of l skip locked;
    -- Asked again now that the line is ours: its row is fresh then, what was seen of its jobs may not be.
    if v_tenant is null or exists (select from jobs.ingestions h where h.tenant_id = v_tenant and not h.to_fetch
                                      and h.holder is not null and h.held_until > now()) then
        return;
    end if;
    update jobs.lines l set served_at = clock_timestamp() where l.tenant_id = v_tenant;
    return query
    update jobs.ingestions j
       set deaths = j.deaths + (j.holder is not null)::int, holder = p_holder,
           held_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
     where j.tenant_id = v_tenant and j.document_id = (
               select n.document_id from jobs.ingestions n
                where n.tenant_id = v_tenant and not n.to_fetch and n.due_at <= now()
                order by n.due_at, n.document_id limit 1 for update skip locked)
    returning j.tenant_id, j.document_id, j.tries, j.deaths;
end $$;

CREATE FUNCTION tenantry.commit_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint, p_rows jsonb, p_blobs bytea[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_fence is not null then
        update tenantry.threads t
           set updated_at = now(),
               title = case when t.title = '' then coalesce(p_rows->>'title', '') else t.title end,
               lease_run_id = case when p_rows ? 'r' then null else t.lease_run_id end,
               lease_until = case when p_rows ? 'r' then null else t.lease_until end
         where t.tenant_id = p_tenant and t.thread_id = p_thread
           and t.fence = p_fence and t.lease_run_id = p_run;
        if not found then
            -- the same commit again, its first answer lost on the way
            perform 1 from tenantry.runs r where r.tenant_id = p_tenant and r.run_id = p_run
                and p_rows ? 'r' and r.status = p_rows->'r'->>'status';
            if found then return; end if;
            raise exception 'the run no longer holds its thread' using errcode = 'TN001';
        end if;
    end if;
    if p_rows ? 'b' then
        insert into tenantry.checkpoint_blobs
               (tenant_id, thread_id, checkpoint_ns, channel, version, type, blob)
        select p_tenant, r.t, r.ns, r.ch, r.v, r.ty, p_blobs[r.i]
          from jsonb_to_recordset(p_rows->'b') as r(t text, ns text, ch text, v text, ty text, i int)
        on conflict (tenant_id, thread_id, checkpoint_ns, channel, version) do nothing;
    end if;
    if p_rows ? 'w' then -- a task's own writes: the first stays; interrupts, errors, resumes (idx < 0): the last
        insert into tenantry.checkpoint_writes as w
               (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
        select p_tenant, r.t, r.ns, r.id, r.task, r.path, r.idx, r.ch, r.ty, p_blobs[r.i]
          from jsonb_to_recordset(p_rows->'w')
            as r(t text, ns text, id text, task text, path text, idx int, ch text, ty text, i int)
        on conflict (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
        do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob
            where w.idx < 0;
    end if;
    if p_rows ? 'c' then
        insert into tenantry.checkpoints
               (tenant_id, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
        select p_tenant, r.t, r.ns, r.id, r.parent, r.cp, r.meta
          from jsonb_to_recordset(p_rows->'c')
            as r(t text, ns text, id text, parent text, cp jsonb, meta jsonb)
        on conflict (tenant_id, thread_id, checkpoint_ns, checkpoint_id)
        do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata;
    end if;
    if p_rows ? 'u' then
        insert into tenantry.usage_events
               (tenant_id, event_id, meter, quantity, model, run_id, subject_id, created_at, cost)
        select p_tenant, r.event_id, r.meter, r.quantity, r.model, r.run_id, r.subject_id, r.created_at,
               coalesce(r.cost, 0)
          from jsonb_to_recordset(p_rows->'u')
            as r(event_id uuid, meter text, quantity bigint, model text, run_id uuid,
                 subject_id text, created_at timestamptz, cost bigint)
        on conflict (tenant_id, event_id) do nothing;
    end if;
    if p_rows ? 'a' then
        insert into tenantry.audit_events
               (tenant_id, event_id, actor, subject_id, action, resource, outcome, run_id, thread_id,
                attributes, created_at)
        select p_tenant, r.event_id, r.actor, r.subject_id, r.action, r.resource, r.outcome, r.run_id,
               r.thread_id, r.attributes, r.created_at
          from jsonb_to_recordset(p_rows->'a')
            as r(event_id uuid, actor text, subject_id text, action text, resource text, outcome text,
                 run_id uuid, thread_id uuid, attributes jsonb, created_at timestamptz)
        on conflict (tenant_id, event_id) do nothing;
    end if;
    if p_rows ? 'r' then
        update tenantry.runs
           set status = p_rows->'r'->>'status', result = p_rows->'r'->'result', finished_at = now(),
               input_tokens = (p_rows->'r'->>'input_tokens')::bigint,
               output_tokens = (p_rows->'r'->>'output_tokens')::bigint
         where tenant_id = p_tenant and run_id = p_run;
    end if;
end $$;

CREATE TABLE control.version (
    only_row boolean DEFAULT true NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT version_only_row_check CHECK (only_row)
);

CREATE FUNCTION tenantry.control_version() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT version.version
    FROM control.version;
END;

CREATE FUNCTION tenantry.corpus_records(p_tenant text) RETURNS TABLE(corpora jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT ( SELECT COALESCE(jsonb_agg(jsonb_build_object('corpus_id', c.corpus_id, 'title', c.title, 'subscribed', (s.tenant_id IS NOT NULL)) ORDER BY c.corpus_id), '[]'::jsonb) AS "coalesce"
            FROM ((control.corpora c
              JOIN control.tenants of ON (((of.tenant_id = c.corpus_id) AND (of.status = 'active'::text))))
              LEFT JOIN control.subscriptions s ON (((s.corpus_id = c.corpus_id) AND (s.tenant_id = t.tenant_id))))) AS "coalesce"
    FROM control.tenants t
   WHERE ((t.tenant_id = corpus_records.p_tenant) AND (corpus_records.p_tenant = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE FUNCTION tenantry.discard_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_rows jsonb) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    delete from tenantry.runs where tenant_id = p_tenant and run_id = p_run;
    if p_new_thread then
        delete from tenantry.threads t
         where t.tenant_id = p_tenant and t.thread_id = p_thread and t.lease_run_id = p_run;
    else
        update tenantry.threads set lease_run_id = null, lease_until = null
         where tenant_id = p_tenant and thread_id = p_thread and lease_run_id = p_run;
    end if;
    perform tenantry.commit_turn(p_tenant, p_thread, p_run, null, p_rows, null);
end $$;

CREATE FUNCTION tenantry.end_ingestion(p_document uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_tenant text := tenantry.current_tenant();
    v_fetch  int;
begin
    delete from jobs.ingestions where tenant_id = v_tenant and document_id = p_document
    returning to_fetch::int into v_fetch;
    if not found then
        return false;
    end if;
    update jobs.lines set jobs = jobs - (1 - v_fetch), fetches = fetches - v_fetch where tenant_id = v_tenant;
    return true;
end $$;

CREATE FUNCTION tenantry.enqueue_fetches(p_documents uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_tenant text := tenantry.current_tenant();
    v_new    int;
begin
    insert into jobs.ingestions (tenant_id, document_id, to_fetch)
    select v_tenant, d, true from unnest(p_documents) d on conflict do nothing;
    get diagnostics v_new = row_count;
    insert into jobs.lines as l (tenant_id, fetches) values (v_tenant, v_new)
    on conflict (tenant_id) do update set fetches = l.fetches + v_new;
end $$;

CREATE FUNCTION tenantry.enqueue_ingestion(p_document uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_tenant text := tenantry.current_tenant();
begin
    insert into jobs.ingestions (tenant_id, document_id) values (v_tenant, p_document) on conflict do nothing;
    if found then
        insert into jobs.lines as l (tenant_id, jobs) values (v_tenant, 1)
        on conflict (tenant_id) do update set jobs = l.jobs + 1;
    else
        update jobs.ingestions set tries = 0, deaths = 0, due_at = now(), holder = null, held_until = null
         where tenant_id = v_tenant and document_id = p_document;
    end if;
end $$;

CREATE FUNCTION tenantry.enter(p_tenant text, p_seal text) RETURNS text
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true), set_config('app.tenant_seal', p_seal, true);
    return p_tenant;
end $$;

CREATE FUNCTION tenantry.filter_documents(p_tenant text, p_filter jsonb) RETURNS uuid[]
    LANGUAGE plpgsql STABLE
    AS $$
begin
    return array(
        select d.document_id from tenantry.documents d
         where d.tenant_id = p_tenant and d.status = 'ready'
           and (p_filter->'document_ids' is null or p_filter->'document_ids' ? d.document_id::text)
           and (p_filter->'media_types' is null or p_filter->'media_types' ? d.media_type)
           and (p_filter->'created_from' is null or d.created_at >= (p_filter->>'created_from')::timestamptz)
           and (p_filter->'created_before' is null or d.created_at < (p_filter->>'created_before')::timestamptz)
           and not exists (
               select from jsonb_to_recordset(coalesce(p_filter->'metadata', '[]'))
                           as c(key text, any_of jsonb, present boolean)
                where not coalesce(case when c.present is null then c.any_of @> (d.metadata->c.key)
                                        else (d.metadata ? c.key) = c.present end, false)));
end $$;

CREATE TABLE control.key_uses (
    key_id uuid NOT NULL,
    last_used_at timestamp with time zone NOT NULL
);

CREATE FUNCTION tenantry.find_key(p_key_id uuid) RETURNS TABLE(key_id uuid, tenant_id text, subject_id text, role text, scopes text[], created_at timestamp with time zone, expires_at timestamp with time zone, revoked_at timestamp with time zone, replaced_by uuid, last_used_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.key_id,
     k.tenant_id,
     k.subject_id,
     k.role,
     k.scopes,
     k.created_at,
     k.expires_at,
     k.revoked_at,
     k.replaced_by,
     u.last_used_at
    FROM (control.api_keys k
      LEFT JOIN control.key_uses u USING (key_id))
   WHERE ((k.key_id = find_key.p_key_id) AND (k.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE FUNCTION tenantry.find_user_limits(p_subject text) RETURNS TABLE(limits jsonb, narrowed jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT u.limits,
     u.narrowed
    FROM control.user_limits u
   WHERE ((u.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)) AND (u.subject_id = find_user_limits.p_subject));
END;

CREATE FUNCTION tenantry.forget_narrowed(p_subject text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 WITH gone AS (
          DELETE FROM control.user_limits u
           WHERE ((u.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)) AND (u.subject_id = forget_narrowed.p_subject) AND (u.limits = '{}'::jsonb))
           RETURNING true AS "?column?"
         ), kept AS (
          UPDATE control.user_limits u SET narrowed = '{}'::jsonb
           WHERE ((u.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)) AND (u.subject_id = forget_narrowed.p_subject) AND (u.limits <> '{}'::jsonb) AND (u.narrowed <> '{}'::jsonb))
           RETURNING true AS "?column?"
         )
  SELECT (EXISTS ( SELECT gone."?column?"
            FROM gone
         UNION ALL
          SELECT kept."?column?"
            FROM kept)) AS "exists";
END;

CREATE FUNCTION tenantry.forget_words(p_tenant text) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    delete from tenantry.word_lists l where l.tenant_id = p_tenant;
    update tenantry.documents d set word_listed = false where d.tenant_id = p_tenant and d.word_listed;
end $$;

CREATE FUNCTION tenantry.get_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text) RETURNS TABLE(thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text, checkpoint jsonb, metadata jsonb, channel_values bytea[], pending_writes bytea[])
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
begin
    perform set_config('app.tenant_id', p_tenant, true);
    return query
    select c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata,
           (select array_agg(array[b.channel::bytea, b.type::bytea, b.blob])
              from jsonb_each_text(c.checkpoint->'channel_versions') v
              join tenantry.checkpoint_blobs b
                on b.tenant_id = p_tenant and b.thread_id = p_thread and b.checkpoint_ns = p_ns
               and b.channel = v.key and b.version = v.value),
           (select array_agg(array[w.task_id::bytea, w.channel::bytea, w.type::bytea, w.blob,
                                   convert_to(w.task_path, 'UTF8'), w.idx::text::bytea])
              from tenantry.checkpoint_writes w
             where w.tenant_id = p_tenant and w.thread_id = p_thread and w.checkpoint_ns = p_ns
               and w.checkpoint_id = c.checkpoint_id)
      from tenantry.checkpoints c
     where c.tenant_id = p_tenant and c.thread_id = p_thread and c.checkpoint_ns = p_ns
       and c.checkpoint_id = coalesce(p_id, (select max(m.checkpoint_id) from tenantry.checkpoints m
             where m.tenant_id = p_tenant and m.thread_id = p_thread and m.checkpoint_ns = p_ns));
end $$;

CREATE TABLE jobs.ingestions (
    tenant_id text NOT NULL,
    document_id uuid NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    deaths integer DEFAULT 0 NOT NULL,
    enqueued_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    holder uuid,
    held_until timestamp with time zone,
    to_fetch boolean DEFAULT false NOT NULL,
    CONSTRAINT ingestions_check CHECK (((holder IS NULL) = (held_until IS NULL)))
);

CREATE FUNCTION tenantry.ingestion_figures(p_platform text) RETURNS TABLE(waiting bigint, working bigint, postponed bigint, oldest_seconds double precision)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT count(*) FILTER (WHERE ((NOT jobs.held) AND (jobs.due_at <= now()))) AS count,
     count(*) FILTER (WHERE jobs.held) AS count,
     count(*) FILTER (WHERE ((NOT jobs.held) AND (jobs.due_at > now()))) AS count,
     (COALESCE(EXTRACT(epoch FROM (now() - min(jobs.enqueued_at))), (0)::numeric))::double precision AS "coalesce"
    FROM ( SELECT j.due_at,
             j.enqueued_at,
             COALESCE((j.held_until > now()), false) AS held
            FROM jobs.ingestions j
           WHERE ((NOT j.to_fetch) AND (ingestion_figures.p_platform = '*'::text) AND (ingestion_figures.p_platform = ( SELECT tenantry.current_tenant() AS current_tenant)))) jobs;
END;

CREATE FUNCTION tenantry.issuer_record(p_platform text, p_url text) RETURNS TABLE(url text, audience text, jwks jsonb, jwks_url text, tenants text[], platform boolean, rules jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT i.url,
     i.audience,
     i.jwks,
     i.jwks_url,
     i.tenants,
     i.platform,
     i.rules
    FROM control.issuers i
   WHERE ((i.url = issuer_record.p_url) AND (issuer_record.p_platform = '*'::text) AND (issuer_record.p_platform = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE TABLE control.tool_settings (
    tenant_id text NOT NULL,
    tool text NOT NULL,
    enabled boolean,
    configuration jsonb DEFAULT '{}'::jsonb NOT NULL
);

CREATE FUNCTION tenantry.tenant_record(p_tenant text) RETURNS TABLE(tenant_id text, display_name text, status text, cell_id text, preferences jsonb, plan jsonb, tools jsonb, revocations jsonb, revoked_keys uuid[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT t.tenant_id,
     t.display_name,
     t.status,
     t.cell_id,
     t.preferences,
     to_jsonb(p.*) AS to_jsonb,
     ( SELECT jsonb_object_agg(s.tool, jsonb_build_object('enabled', s.enabled, 'configuration', s.configuration)) AS jsonb_object_agg
            FROM control.tool_settings s
           WHERE (s.tenant_id = t.tenant_id)) AS jsonb_object_agg,
     ( SELECT jsonb_agg(jsonb_build_object('subject', r.subject_id, 'issuer', r.issuer, 'token', r.token_id, 'at', EXTRACT(epoch FROM r.revoked_at))) AS jsonb_agg
            FROM control.revocations r
           WHERE (r.tenant_id = t.tenant_id)) AS jsonb_agg,
     ( SELECT array_agg(k.key_id) AS array_agg
            FROM control.api_keys k
           WHERE ((k.tenant_id = t.tenant_id) AND (k.revoked_at > (now() - '1 day'::interval)))) AS array_agg
    FROM (control.tenants t
      JOIN control.plans p USING (plan_id))
   WHERE ((t.tenant_id = tenant_record.p_tenant) AND (tenant_record.p_tenant = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE FUNCTION tenantry.limited_tenant_record(p_tenant text) RETURNS TABLE(tenant_id text, display_name text, status text, cell_id text, preferences jsonb, tools jsonb, revocations jsonb, revoked_keys uuid[], plan jsonb, plan_limits jsonb, limits jsonb, users jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT r.tenant_id,
     r.display_name,
     r.status,
     r.cell_id,
     r.preferences,
     r.tools,
     r.revocations,
     r.revoked_keys,
     l.plan,
     l.plan_limits,
     l.limits,
     l.users
    FROM (tenantry.tenant_record(limited_tenant_record.p_tenant) r(tenant_id, display_name, status, cell_id, preferences, plan, tools, revocations, revoked_keys)
      CROSS JOIN LATERAL control.limits_of(r.tenant_id) l(tenant_id, plan, plan_limits, limits, users));
END;

CREATE FUNCTION tenantry.list_keys(p_limit integer, p_after_time timestamp with time zone, p_after_id uuid) RETURNS TABLE(key_id uuid, tenant_id text, subject_id text, role text, scopes text[], created_at timestamp with time zone, expires_at timestamp with time zone, revoked_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.key_id,
     k.tenant_id,
     k.subject_id,
     k.role,
     k.scopes,
     k.created_at,
     k.expires_at,
     k.revoked_at
    FROM control.api_keys k
   WHERE ((k.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)) AND ((list_keys.p_after_id IS NULL) OR (ROW(k.created_at, k.key_id) > ROW(list_keys.p_after_time, list_keys.p_after_id))))
   ORDER BY k.created_at, k.key_id
  LIMIT list_keys.p_limit;
END;

CREATE FUNCTION tenantry.list_words(p_tenant text, p_anew boolean) RETURNS void
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_custom_plan'
    SET work_mem TO '64MB'
    AS $$
declare
    v_documents uuid[] := array(select d.document_id from tenantry.documents d
                                 where d.tenant_id = p_tenant and d.status = 'ready' and (p_anew or not d.word_listed));
    v_segment   int;
begin
    if p_anew then
        delete from tenantry.word_lists l where l.tenant_id = p_tenant;
    end if;
    v_segment := 1 + coalesce((select max(l.segment) from tenantry.word_lists l
                                where l.tenant_id = p_tenant and l.word = ''), 0);
    insert into tenantry.word_lists (tenant_id, word, segment, block, passages, passage_ids, weights)
    with listed as materialized ( -- a copy of the lexemes: each is read once from where it lies, not once a word
        select p.passage_id, setweight(p.lexemes, 'D') as lexemes from tenantry.passages p
         where p.tenant_id = p_tenant and p.document_id = any(v_documents)
    ), ranked as (
        select u.lexeme as word, l.passage_id, ts_rank(l.lexemes, tenantry.word_query(u.lexeme), 1) as weight
          from listed l, unnest(l.lexemes) u
    ), placed as (
        select r.*, row_number() over (partition by r.word order by r.weight desc, r.passage_id) - 1 as place,
               count(*) over (partition by r.word) as known
          from ranked r
    )
    select p_tenant, p.word, v_segment, p.place / 1000, max(p.known),
           array_agg(p.passage_id order by p.place), array_agg(p.weight order by p.place)
      from placed p group by p.word, p.place / 1000
    union all
    select p_tenant, '', v_segment, 0, count(*), '{}', '{}' from listed;
    update tenantry.documents d set word_listed = true
     where d.tenant_id = p_tenant and d.document_id = any(v_documents) and not d.word_listed;
end $$;

CREATE FUNCTION tenantry.load_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text) RETURNS TABLE(thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text, checkpoint jsonb, metadata jsonb, channel_values bytea[], pending_writes bytea[], tenant_ids text[])
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
begin
    perform set_config('app.tenant_id', p_tenant, true);
    return query
    select c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata,
           stored.pieces, pending.pieces, array[c.tenant_id] || stored.owners || pending.owners
      from tenantry.checkpoints c
     cross join lateral (
           select array_agg(array[b.channel::bytea, b.type::bytea, b.blob]) as pieces,
                  array_agg(distinct b.tenant_id) as owners
             from jsonb_each_text(c.checkpoint->'channel_versions') v
             join tenantry.checkpoint_blobs b
               on b.tenant_id = p_tenant and b.thread_id = p_thread and b.checkpoint_ns = p_ns
              and b.channel = v.key and b.version = v.value) stored
     cross join lateral (
           select array_agg(array[w.task_id::bytea, w.channel::bytea, w.type::bytea, w.blob,
                                  convert_to(w.task_path, 'UTF8'), w.idx::text::bytea]) as pieces,
                  array_agg(distinct w.tenant_id) as owners
             from tenantry.checkpoint_writes w
            where w.tenant_id = p_tenant and w.thread_id = p_thread and w.checkpoint_ns = p_ns
              and w.checkpoint_id = c.checkpoint_id) pending
     where c.tenant_id = p_tenant and c.thread_id = p_thread and c.checkpoint_ns = p_ns
       and c.checkpoint_id = coalesce(p_id, (select max(m.checkpoint_id) from tenantry.checkpoints m
             where m.tenant_id = p_tenant and m.thread_id = p_thread and m.checkpoint_ns = p_ns));
end $$;

CREATE FUNCTION tenantry.memory_of(p_tenant text, p_subject text) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
begin
    if not tenantry.remembers(p_tenant, p_subject) then
        return 'off';
    elsif exists (select from tenantry.memories m
                   where m.tenant_id = p_tenant and coalesce(m.subject_id, '') in ('', p_subject)
                     and m.namespace = '{memories}') then
        return 'some';
    end if;
    return 'empty';
end $$;

CREATE FUNCTION tenantry.narrow_user(p_subject text, p_narrowed jsonb) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT control.merge_user_limits(tenantry.current_tenant(), p_subject, '{}'::jsonb, p_narrowed) AS merge_user_limits;
END;

CREATE FUNCTION tenantry.nearest_copied(p_tenant text, p_model text, p_vector public.vector) RETURNS uuid[]
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_custom_plan'
    AS $_$
declare
    v_nearest uuid[];
begin
    execute format('select array(select n.passage_id
                                   from ((select v.passage_id,
                                                 v.embedding::public.vector(%3$s) operator(public.<=>) $1 as distance
                                            from tenantry.next_vectors v
                                           where v.tenant_id = %1$L and v.embedding_model = %2$L
                                             and v.dimensions = %3$s
                                           order by v.embedding::public.vector(%3$s) operator(public.<=>) $1
                                           fetch first 50 rows with ties)
                                         union all
                                         select p.passage_id, p.distance
                                           from tenantry.documents d, lateral (
                                                select m.passage_id, m.embedding operator(public.<=>) $1 as distance
                                                  from tenantry.passages m
                                                 where m.tenant_id = %1$L and m.document_id = d.document_id
                                                   and m.embedding_model = %2$L and m.dimensions = %3$s offset 0) p
                                          where d.tenant_id = %1$L and not d.copied) n
                                  order by n.distance, n.passage_id limit 50)',
                   p_tenant, p_model, public.vector_dims(p_vector))
       into v_nearest using p_vector;
    return v_nearest;
end $_$;

CREATE FUNCTION tenantry.note_key_uses(p_platform text, p_keys uuid[], p_ages double precision[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO control.key_uses AS u (key_id, last_used_at)  SELECT k.key_id,
             (now() - make_interval(secs => GREATEST(min(n.age), (0)::double precision)))
            FROM (UNNEST(note_key_uses.p_keys, note_key_uses.p_ages) n(key_id, age)
              JOIN control.api_keys k USING (key_id))
           WHERE ((note_key_uses.p_platform = '*'::text) AND (note_key_uses.p_platform = ( SELECT tenantry.current_tenant() AS current_tenant)))
           GROUP BY k.key_id
           ORDER BY k.key_id ON CONFLICT(key_id) DO UPDATE SET last_used_at = excluded.last_used_at
   WHERE (excluded.last_used_at > u.last_used_at);
END;

CREATE FUNCTION tenantry.open_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_subject text, p_sees_all boolean, p_lease_seconds double precision, p_key text, p_digest bytea) RETURNS TABLE(outcome text, fence bigint, result jsonb)
    LANGUAGE plpgsql
    AS $$
declare
    v_run    tenantry.runs;
    v_thread tenantry.threads;
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_key is not null then
        perform pg_advisory_xact_lock(hashtextextended(p_tenant || '/' || p_subject || '/' || p_key, 7));
        select * into v_run from tenantry.runs r
         where r.tenant_id = p_tenant and r.subject_id = p_subject and r.idempotency_key = p_key;
        if found and v_run.run_id <> p_run then
            if v_run.request_digest <> p_digest then
                return query select 'mismatch', null::bigint, null::jsonb; return;
            elsif v_run.status in ('success', 'interrupted') then
                return query select 'replay', null::bigint, v_run.result; return;
            end if;
            perform 1 from tenantry.threads t
              where t.tenant_id = p_tenant and t.thread_id = v_run.thread_id
                and t.lease_run_id = v_run.run_id and t.lease_until > now();
            if found then
                return query select 'in_progress', null::bigint, null::jsonb; return;
            end if;
            update tenantry.runs set idempotency_key = null
             where tenant_id = p_tenant and run_id = v_run.run_id;
        end if;
    end if;
    if p_new_thread then
        insert into tenantry.threads (tenant_id, thread_id, subject_id)
        values (p_tenant, p_thread, p_subject) on conflict (tenant_id, thread_id) do nothing;
    end if;
    select * into v_thread from tenantry.threads t
     where t.tenant_id = p_tenant and t.thread_id = p_thread
       and (p_sees_all or t.subject_id = p_subject) for update;
    if not found then
        return query select 'missing', null::bigint, null::jsonb; return;
    elsif v_thread.quarantined_by is not null then
        return query select 'quarantined', null::bigint, null::jsonb; return;
    elsif v_thread.lease_run_id = p_run then -- the same opening again, its first answer lost on the way
        return query select 'opened', v_thread.fence, null::jsonb; return;
    elsif v_thread.lease_until > now() then
        return query select 'busy', null::bigint, null::jsonb; return;
    end if;
    update tenantry.runs set status = 'error', finished_at = now()
     where tenant_id = p_tenant and run_id = v_thread.lease_run_id and status = 'running';
    update tenantry.threads t
       set lease_run_id = p_run, fence = t.fence + 1,
           lease_until = now() + make_interval(secs => p_lease_seconds)
     where t.tenant_id = p_tenant and t.thread_id = p_thread;
    insert into tenantry.runs (tenant_id, run_id, thread_id, subject_id, idempotency_key, request_digest)
    values (p_tenant, p_run, p_thread, p_subject, p_key, p_digest);
    return query select 'opened', v_thread.fence + 1, null::jsonb;
end $$;

CREATE FUNCTION tenantry.open_run_as(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_subject text, p_sees_all boolean, p_lease_seconds double precision, p_key text, p_digest bytea, p_assistant text, p_draft boolean, p_goes_on boolean, p_universal jsonb) RETURNS TABLE(outcome text, fence bigint, result jsonb, preferences jsonb, assistant text, version integer, content jsonb)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
declare
    v_name   text := p_assistant;
    v_draft  boolean := p_draft;
    v_asked  record;
    v_who    record;
    v_opened record;
    v_assistant text;
    v_version   int;
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_goes_on then
        select r.assistant, r.assistant_version into v_asked from tenantry.runs r
         where r.tenant_id = p_tenant and r.thread_id = p_thread and r.status = 'interrupted'
         order by r.created_at desc limit 1;
        v_name := coalesce(v_asked.assistant, p_assistant);
        v_draft := p_draft and v_asked.assistant_version is null;
    end if;
    select * into v_who from tenantry.who_speaks(p_tenant, p_subject, v_name, v_draft);
    v_assistant := v_who.assistant_id::text;
    v_version := v_who.version;
    if v_who.content is null then
        v_assistant := case when not v_draft and p_universal ? v_name then v_name end;
        v_version := (p_universal ->> v_assistant)::int;
        if v_assistant is null and v_name <> 'default' and not p_goes_on then
            return query select 'unknown', null::bigint, null::jsonb, null::jsonb, null, null::int, null::jsonb;
            return;
        end if;
    end if;
    select * into v_opened from tenantry.open_run(p_tenant, p_run, p_thread, p_new_thread, p_subject, p_sees_all,
                                                  p_lease_seconds, p_key, p_digest);
    if v_opened.outcome = 'opened' and v_assistant is not null then
        update tenantry.runs r set assistant = v_assistant, assistant_version = v_version
         where r.tenant_id = p_tenant and r.run_id = p_run;
    end if;
    return query select v_opened.outcome, v_opened.fence, v_opened.result,
                        v_who.preferences, v_assistant, v_version, v_who.content;
end $$;

CREATE FUNCTION tenantry.page_of_keys(p_limit integer, p_after_time timestamp with time zone, p_after_id uuid) RETURNS TABLE(key_id uuid, tenant_id text, subject_id text, role text, scopes text[], created_at timestamp with time zone, expires_at timestamp with time zone, revoked_at timestamp with time zone, replaced_by uuid, last_used_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.key_id,
     k.tenant_id,
     k.subject_id,
     k.role,
     k.scopes,
     k.created_at,
     k.expires_at,
     k.revoked_at,
     k.replaced_by,
     u.last_used_at
    FROM (control.api_keys k
      LEFT JOIN control.key_uses u USING (key_id))
   WHERE ((k.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)) AND ((page_of_keys.p_after_id IS NULL) OR (ROW(k.created_at, k.key_id) > ROW(page_of_keys.p_after_time, page_of_keys.p_after_id))))
   ORDER BY k.created_at, k.key_id
  LIMIT page_of_keys.p_limit;
END;

CREATE FUNCTION tenantry.page_of_user_limits(p_limit integer, p_after text) RETURNS TABLE(subject_id text, limits jsonb, narrowed jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT u.subject_id,
     u.limits,
     u.narrowed
    FROM control.user_limits u
   WHERE ((u.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)) AND ((page_of_user_limits.p_after IS NULL) OR (u.subject_id > page_of_user_limits.p_after)))
   ORDER BY u.subject_id
  LIMIT page_of_user_limits.p_limit;
END;

CREATE FUNCTION tenantry.pages_to_fetch(p_platform text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT count(*) AS count
    FROM jobs.ingestions j
   WHERE (j.to_fetch AND (pages_to_fetch.p_platform = '*'::text) AND (pages_to_fetch.p_platform = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE FUNCTION tenantry.platform_profiles(p_platform text) RETURNS TABLE(profiles jsonb, assistants jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT ( SELECT COALESCE(jsonb_object_agg(p.name, p.says), '{}'::jsonb) AS "coalesce"
            FROM control.profiles p) AS "coalesce",
     ( SELECT COALESCE(jsonb_object_agg(a.slug, jsonb_build_object('version', a.version, 'content', a.content)), '{}'::jsonb) AS "coalesce"
            FROM control.universal_assistants a) AS "coalesce"
   WHERE ((p_platform = '*'::text) AND (p_platform = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE FUNCTION tenantry.price_records(p_platform text) RETURNS TABLE(prices jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT ( SELECT COALESCE(jsonb_object_agg(p.model, jsonb_build_array(p.input_nanos, p.output_nanos)), '{}'::jsonb) AS "coalesce"
            FROM control.prices p) AS "coalesce"
   WHERE ((p_platform = '*'::text) AND (p_platform = ( SELECT tenantry.current_tenant() AS current_tenant)));
END;

CREATE FUNCTION tenantry.prune_checkpoints(p_tenant text, p_thread text, p_keep integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
declare
    v_kept text[]; -- namespace and id
    v_gone int;
begin
    if exists (select from tenantry.checkpoints c
                where c.tenant_id = p_tenant and c.thread_id = p_thread
                  and c.metadata ? 'counters_since_delta_snapshot') then
        return 0;
    end if;
    with ranked as (
        select c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, (c.checkpoint->>'v')::int < 4 as old,
               row_number() over (partition by c.checkpoint_ns order by c.checkpoint_id desc) as place
          from tenantry.checkpoints c
         where c.tenant_id = p_tenant and c.thread_id = p_thread
    )
    select array_agg(r.checkpoint_ns || '/' || r.checkpoint_id)
           || coalesce(array_agg(r.checkpoint_ns || '/' || r.parent_checkpoint_id)
                       filter (where r.old and r.parent_checkpoint_id is not null), '{}')
      into v_kept from ranked r where r.place <= greatest(p_keep, 1);
    delete from tenantry.checkpoints c
     where c.tenant_id = p_tenant and c.thread_id = p_thread
       and c.checkpoint_ns || '/' || c.checkpoint_id <> all(v_kept);
    get diagnostics v_gone = row_count;
    delete from tenantry.checkpoint_writes w
     where w.tenant_id = p_tenant and w.thread_id = p_thread
       and w.checkpoint_ns || '/' || w.checkpoint_id <> all(v_kept);
    delete from tenantry.checkpoint_blobs b
     where b.tenant_id = p_tenant and b.thread_id = p_thread
       and not exists (select from tenantry.checkpoints c
                        where c.tenant_id = p_tenant and c.thread_id = p_thread
                          and c.checkpoint_ns = b.checkpoint_ns
                          and c.checkpoint->'channel_versions'->>b.channel = b.version);
    return v_gone;
end $$;

CREATE FUNCTION tenantry.prune_thread(p_tenant text, p_thread uuid, p_keep integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    perform from tenantry.threads t
      where t.tenant_id = p_tenant and t.thread_id = p_thread and t.quarantined_by is null
        and (t.lease_run_id is null or t.lease_until < now()) for update skip locked;
    return case when found then tenantry.prune_checkpoints(p_tenant, p_thread::text, p_keep) else 0 end;
end $$;

CREATE FUNCTION tenantry.put_ingestion_back(p_document uuid, p_holder uuid, p_tries integer, p_after_seconds double precision) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    update jobs.ingestions
       set holder = null, held_until = null, tries = p_tries,
           due_at = case when p_after_seconds > 0 then clock_timestamp() + make_interval(secs => p_after_seconds)
                         else due_at end
     where tenant_id = tenantry.current_tenant() and document_id = p_document and holder = p_holder;
end $$;

CREATE FUNCTION tenantry.put_profile(p_says jsonb) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 UPDATE control.tenants SET preferences = put_profile.p_says
   WHERE (tenants.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))
   RETURNING true;
END;

CREATE FUNCTION tenantry.quarantine_run(p_tenant text, p_run uuid, p_thread uuid, p_title text, p_rows jsonb) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    update tenantry.threads t
       set quarantined_by = coalesce(t.quarantined_by, p_run), fence = t.fence + 1, lease_run_id = null,
           lease_until = null, updated_at = now(),
           title = case when t.title = p_title then '' else t.title end
     where t.tenant_id = p_tenant and t.thread_id = p_thread;
    delete from tenantry.checkpoints c
     where c.tenant_id = p_tenant and c.thread_id = p_thread::text
       and c.metadata->>'run_id' = p_run::text;
    delete from tenantry.checkpoint_writes w
     where w.tenant_id = p_tenant and w.thread_id = p_thread::text
       and not (w.channel = '__interrupt__' and exists (
               select from tenantry.checkpoints c
                where c.tenant_id = p_tenant and c.thread_id = w.thread_id
                  and c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id));
    delete from tenantry.checkpoint_blobs b
     where b.tenant_id = p_tenant and b.thread_id = p_thread::text
       and not exists (
               select from tenantry.checkpoints c
                where c.tenant_id = p_tenant and c.thread_id = b.thread_id
                  and c.checkpoint_ns = b.checkpoint_ns
                  and c.checkpoint->'channel_versions'->>b.channel = b.version);
    perform tenantry.commit_turn(p_tenant, p_thread, p_run, null, p_rows, null);
end $$;

CREATE FUNCTION tenantry.rank_by_list(p_tenant text, p_words text[], p_new uuid[], p_documents uuid[]) RETURNS TABLE(passage_id uuid, score double precision)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
declare
    v_known float8 := (select sum(l.passages) from tenantry.word_lists l where l.tenant_id = p_tenant and l.word = '');
    v_most  int := case when p_documents is null then 200 else 2000 end; -- of which the filter leaves some
begin
    return query
    with weights as materialized (
        select a.word, tenantry.word_query(a.word) as query,
               ln(1 + (greatest(v_known, f.known) - f.known + 0.5) / (f.known + 0.5)) as weight
          from unnest(p_words) a(word), lateral (
                   select coalesce(sum(l.passages), 0) as known from tenantry.word_lists l
                    where l.tenant_id = p_tenant and l.word = a.word and l.block = 0) f
    ), foremost as (
        select e.passage_id, sum(w.weight * e.weight) as score
          from weights w
          join tenantry.word_lists l on l.tenant_id = p_tenant and l.word = w.word
           and l.block < case when w.weight < least(1, (select max(weight) from weights)) then 0
                              when w.weight < 3 then 1 else 3 end
         cross join unnest(l.passage_ids, l.weights) e(passage_id, weight)
         group by e.passage_id order by score desc, e.passage_id limit v_most
    ), candidates as materialized (
        select c.passage_id, setweight(c.lexemes, 'D') as lexemes
          from (select p.passage_id, p.document_id, p.lexemes
                  from (select passage_id from foremost union select unnest(p_new)) f
                  join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
                offset 0) c -- each by its own id: a document may have every passage there is
         where p_documents is null or c.document_id = any(p_documents)
    )
    select c.passage_id, s.score
      from candidates c, lateral (select sum(w.weight * ts_rank(c.lexemes, w.query, 1)) as score from weights w) s
     order by s.score desc, c.passage_id limit 50;
end $$;

CREATE FUNCTION tenantry.rank_by_word(p_tenant text, p_question text, p_documents uuid[]) RETURNS TABLE(passage_id uuid, score double precision)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
#variable_conflict use_column
declare
    few     constant int := case when p_documents is null then 1500 else 5000 end; -- passages: read as fast one by one
    many    constant int := 10000; -- weighing takes too long: until the worker has listed them, all words count alike
    v_known float8 := (select sum(d.passages) from tenantry.documents d
                        where d.tenant_id = p_tenant and (p_documents is null or d.document_id = any(p_documents)));
    v_all   constant text[] := tsvector_to_array(to_tsvector('english', tenantry.searchable(p_question)));
    v_words tsquery[] := array(select tenantry.word_query(word) from unnest(v_all) word);
    v_any   tsquery := (select string_agg(word::text, '|')::tsquery from unnest(v_words) word);
    v_new   uuid[];
begin
    if v_any is null then
        return;
    elsif v_known > few and exists (select from tenantry.word_lists l where l.tenant_id = p_tenant and l.word = '') then
        v_new := array( -- before the lists: what becomes listed meanwhile is found in one of the two
            select p.passage_id
              from tenantry.documents d
              join tenantry.passages p on p.tenant_id = p_tenant and p.document_id = d.document_id
             where d.tenant_id = p_tenant and not d.word_listed and p.lexemes @@ v_any
               and (p_documents is null or d.document_id = any(p_documents))
             order by ts_rank(p.lexemes, v_any, 1) desc, p.passage_id limit 200);
        return query select * from tenantry.rank_by_list(p_tenant, v_all, v_new, p_documents);
        return;
    elsif v_known > many then
        return query
        select p.passage_id, ts_rank(p.lexemes, v_any, 1)::float8 as score from tenantry.passages p
         where p.tenant_id = p_tenant and p.lexemes @@ v_any
           and (p_documents is null or p.document_id = any(p_documents))
         order by score desc, p.passage_id limit 50;
        return;
    end if;
    return query
    with matched as materialized ( -- a copy of the lexemes: each is read once from where it lies, not once a word
        select c.passage_id, c.lexemes
          from (select p.passage_id, setweight(p.lexemes, 'D') as lexemes from tenantry.passages p
                 where p.tenant_id = p_tenant and (p_documents is null or p.document_id = any(p_documents))
                offset 0) c
         where c.lexemes @@ v_any
    ), frequencies as materialized (
        select word, (select count(*) from matched m where m.lexemes @@ word) as known from unnest(v_words) word
    ), weights as materialized (
        select word, ln(1 + (greatest(v_known, known) - known + 0.5) / (known + 0.5)) as weight from frequencies
    )
    select m.passage_id, s.score
      from matched m, lateral (select sum(w.weight * ts_rank(m.lexemes, w.word, 1)) as score from weights w) s
     order by s.score desc, m.passage_id limit 50;
end $$;

CREATE FUNCTION tenantry.read_fetched(p_document uuid, p_holder uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_tenant text := tenantry.current_tenant();
begin
    update jobs.ingestions
       set to_fetch = false, tries = 0, deaths = 0, due_at = now(), holder = null, held_until = null
     where tenant_id = v_tenant and document_id = p_document and holder = p_holder and to_fetch;
    if found then
        update jobs.lines set fetches = fetches - 1, jobs = jobs + 1 where tenant_id = v_tenant;
    end if;
end $$;

CREATE FUNCTION tenantry.recall_memories(p_tenant text, p_subject text, p_model text, p_vector text, p_limit integer, p_anyway boolean) RETURNS TABLE(tenant_id text, memory_id uuid, subject_id text, text text, created_at timestamp with time zone, updated_at timestamp with time zone, distance double precision)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
#variable_conflict use_column
declare
    v_vector public.vector := p_vector::public.vector;
begin
    if not (p_anyway or tenantry.remembers(p_tenant, p_subject)) then
        return;
    end if;
    return query
    select m.tenant_id, m.memory_id, m.subject_id, m.value->>'text', m.created_at, m.updated_at,
           case when m.embedding_model = p_model and public.vector_dims(m.embedding) = public.vector_dims(v_vector)
                then m.embedding operator(public.<=>) v_vector end as distance
      from tenantry.memories m
     where m.tenant_id = p_tenant and coalesce(m.subject_id, '') in ('', p_subject) and m.namespace = '{memories}'
     order by distance nulls last, m.updated_at desc, m.memory_id limit p_limit;
end $$;

CREATE FUNCTION tenantry.record_first(p_tenant text, p_event jsonb) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
    insert into tenantry.audit_events
           (tenant_id, event_id, actor, subject_id, action, resource, outcome, attributes, created_at)
    select p_tenant, r.event_id, r.actor, r.subject_id, r.action, r.resource, r.outcome, r.attributes, r.created_at
      from jsonb_to_record(p_event)
        as r(event_id uuid, actor text, subject_id text, action text, resource text, outcome text,
             attributes jsonb, created_at timestamptz)
    on conflict (tenant_id, event_id) do nothing;
    return exists (select from tenantry.audit_events e
                    where e.tenant_id = p_tenant and e.event_id = (p_event->>'event_id')::uuid
                      and e.attributes = p_event->'attributes');
end $$;

CREATE FUNCTION tenantry.remembers(p_tenant text, p_subject text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
begin
    return coalesce((select s.enabled from tenantry.memory_switches s
                      where s.tenant_id = p_tenant and s.subject_id = p_subject), true);
end $$;

CREATE FUNCTION tenantry.renew_ingestion(p_document uuid, p_holder uuid, p_lease_seconds double precision, p_came_on boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    update jobs.ingestions
       set held_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
           deaths = case when p_came_on then 0 else deaths end
     where tenant_id = tenantry.current_tenant() and document_id = p_document and holder = p_holder
       and exists (select from control.tenants t
                    where t.tenant_id = tenantry.current_tenant() and t.status = 'active');
    return found;
end $$;

CREATE FUNCTION tenantry.renew_lease(p_tenant text, p_run uuid, p_thread uuid, p_fence bigint, p_lease_seconds double precision) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    update tenantry.threads set lease_until = now() + make_interval(secs => p_lease_seconds)
     where tenant_id = p_tenant and thread_id = p_thread and lease_run_id = p_run and fence = p_fence;
    return found;
end $$;

CREATE FUNCTION tenantry.revoke_key(p_key_id uuid) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 UPDATE control.api_keys SET revoked_at = COALESCE(api_keys.revoked_at, now())
   WHERE ((api_keys.key_id = revoke_key.p_key_id) AND (api_keys.tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)))
   RETURNING true;
END;

CREATE FUNCTION tenantry.rotate_key(p_key_id uuid, p_new_id uuid, p_digest bytea, p_overlap_seconds double precision) RETURNS TABLE(outcome text, created_at timestamp with time zone, expires_at timestamp with time zone, old_expires_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v_old control.api_keys;
    v_end timestamptz;
begin
    select * into v_old from control.api_keys k
     where k.key_id = p_key_id and k.tenant_id = tenantry.current_tenant() for update;
    if not found then
        return query select 'missing', null::timestamptz, null::timestamptz, null::timestamptz; return;
    elsif v_old.replaced_by is not null then
        return query select 'replaced', null::timestamptz, null::timestamptz, null::timestamptz; return;
    elsif v_old.revoked_at is not null or v_old.expires_at <= now() or exists (
              select from control.revocations r
               where r.tenant_id = v_old.tenant_id and r.token_id = ''
                 and r.subject_id in ('', v_old.subject_id) and r.revoked_at >= v_old.created_at) then
        return query select 'ended', null::timestamptz, null::timestamptz, null::timestamptz; return;
    end if;
    insert into control.api_keys (key_id, tenant_id, digest, subject_id, role, scopes, expires_at)
    values (p_new_id, v_old.tenant_id, p_digest, v_old.subject_id, v_old.role, v_old.scopes,
            now() + (v_old.expires_at - v_old.created_at));
    v_end := least(v_old.expires_at, now() + make_interval(secs => p_overlap_seconds));
    update control.api_keys k set expires_at = v_end, replaced_by = p_new_id where k.key_id = p_key_id;
    return query select 'rotated', k.created_at, k.expires_at, v_end
                   from control.api_keys k where k.key_id = p_new_id;
end $$;

CREATE FUNCTION tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit integer) RETURNS TABLE(tenant_id text, passage_id uuid, document_id uuid, title text, body text, score double precision, path text[], page integer, start_offset integer, end_offset integer)
    LANGUAGE plpgsql
    AS $$
begin
    return query
    select s.tenant_id, s.passage_id, s.document_id, s.title, s.body, s.score,
           s.path, s.page, s.start_offset, s.end_offset
      from tenantry.search_passages(p_tenant, p_query, p_vector, p_model, p_limit, null) s;
end $$;

CREATE FUNCTION tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit integer, p_filter jsonb) RETURNS TABLE(tenant_id text, passage_id uuid, document_id uuid, title text, body text, score double precision, path text[], page integer, start_offset integer, end_offset integer, ordinal integer, distance double precision, distance_rank integer, word_score double precision, word_rank integer)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_custom_plan'
    SET "hnsw.ef_search" TO '100'
    SET "hnsw.iterative_scan" TO 'strict_order'
    AS $_$
#variable_conflict use_column
declare
    few         constant int := 5000; -- passages: so many are compared one by one rather than by an index
    v_vector    public.vector := p_vector::public.vector;
    v_documents uuid[];
    v_known     bigint;
    v_nearest   uuid[];
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_filter is not null then
        v_documents := tenantry.filter_documents(p_tenant, p_filter);
        v_known := (select coalesce(sum(d.passages), 0) from tenantry.documents d
                     where d.tenant_id = p_tenant and d.document_id = any(v_documents));
    end if;
    if v_documents is null and exists (select from tenantry.documents d where d.tenant_id = p_tenant and d.copied) then
        v_nearest := tenantry.nearest_copied(p_tenant, p_model, v_vector);
    else
        execute format('select array(select n.passage_id
                                       from (select p.passage_id,
                                                    p.embedding::public.vector(%3$s) operator(public.<=>) $1 as distance
                                               from tenantry.passages p
                                              where p.tenant_id = %1$L and p.embedding_model = %2$L
                                                and p.dimensions = %3$s %4$s) n
                                      order by n.distance, n.passage_id limit 50)',
                       p_tenant, p_model, public.vector_dims(v_vector),
                       case when v_known <= few then 'and p.document_id = any($2) offset 0'
                            else case when v_documents is not null then 'and p.document_id = any($2) ' else '' end
                                 || format('order by p.embedding::public.vector(%s) operator(public.<=>) $1
                                            fetch first 50 rows with ties', public.vector_dims(v_vector)) end)
           into v_nearest using v_vector, v_documents;
    end if;
    return query
    with hits as (
        select n.passage_id, n.place, n.place as near, null::float8 as word_score, null::bigint as word
          from unnest(v_nearest) with ordinality as n(passage_id, place)
        union all
        select w.passage_id, w.place, null, w.score, w.place
          from tenantry.rank_by_word(p_tenant, p_query, v_documents) with ordinality as w(passage_id, score, place)
    ), fused as (
        select passage_id, sum(1.0 / (10 + place))::float8 as score,
               max(near)::int as near, max(word_score) as word_score, max(word)::int as word
          from hits group by passage_id order by score desc, passage_id limit p_limit
    )
    select p.tenant_id, p.passage_id, p.document_id, d.title, p.body, f.score,
           p.path, p.page, p.start_offset, p.end_offset, p.ordinal,
           case when p.embedding_model = p_model and p.dimensions = public.vector_dims(v_vector)
                then p.embedding operator(public.<=>) v_vector end, f.near, f.word_score, f.word
      from fused f
      join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
      join tenantry.documents d on d.tenant_id = p_tenant and d.document_id = p.document_id
     order by f.score desc, p.passage_id;
end $_$;

CREATE FUNCTION tenantry.searchable(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    select case when p_text collate "C" ~ '[a-z0-9][A-Z]'
                then p_text || ' ' || regexp_replace(p_text collate "C", '([a-z0-9])([A-Z])', '\1 \2', 'g')
                else p_text end
$$;

CREATE FUNCTION tenantry.settled_checkpoint(p_tenant text, p_thread text) RETURNS text
    LANGUAGE plpgsql
    AS $$
declare
    v_id text := (select max(c.checkpoint_id) from tenantry.checkpoints c
                   where c.tenant_id = p_tenant and c.thread_id = p_thread and c.checkpoint_ns = '');
begin
    perform from tenantry.checkpoint_writes w
      where w.tenant_id = p_tenant and w.thread_id = p_thread and w.checkpoint_ns = '' and w.checkpoint_id = v_id;
    return case when not found then v_id end;
end $$;

CREATE FUNCTION tenantry.store_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint, p_rows jsonb, p_blobs bytea[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    perform tenantry.commit_turn(p_tenant, p_thread, p_run, p_fence, p_rows, p_blobs);
    if p_fence is null or not p_rows ? 'r' then
        return;
    end if;
    update tenantry.threads t
       set words = case when p_rows ? 'said' then tenantry.with_words(t.words, p_rows->>'said') else t.words end
     where t.tenant_id = p_tenant and t.thread_id = p_thread and t.fence = p_fence and t.lease_run_id is null;
    if found and (p_rows->>'keep')::int > 0 then
        perform tenantry.prune_checkpoints(p_tenant, p_thread::text, (p_rows->>'keep')::int);
    end if;
end $$;

CREATE FUNCTION tenantry.subscribe(p_corpus text, p_most integer) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT control.subscribe(tenantry.current_tenant(), p_corpus, p_most) AS subscribe;
END;

CREATE FUNCTION tenantry.unsubscribe(p_corpus text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT control.unsubscribe(tenantry.current_tenant(), p_corpus) AS unsubscribe;
END;

CREATE FUNCTION tenantry.wanted_words(p_query text) RETURNS tsquery
    LANGUAGE sql STABLE
    RETURN (regexp_replace((websearch_to_tsquery('english'::regconfig, p_query))::text, '<(-|\d+)>'::text, '&'::text, 'g'::text))::tsquery;

CREATE FUNCTION tenantry.who_speaks(p_tenant text, p_subject text, p_assistant text, p_draft boolean) RETURNS TABLE(preferences jsonb, assistant_id uuid, slug text, version integer, content jsonb)
    LANGUAGE plpgsql
    AS $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    return query
    select (select u.says from tenantry.user_preferences u
             where u.tenant_id = p_tenant and u.subject_id = p_subject),
           a.assistant_id, a.slug, v.version, case when p_draft then a.draft else v.content end
      from (select 1) one
      left join tenantry.assistants a
        on a.tenant_id = p_tenant and (a.slug = p_assistant or a.assistant_id::text = p_assistant)
      left join tenantry.assistant_versions v
        on v.tenant_id = p_tenant and v.assistant_id = a.assistant_id and v.version = a.published and not p_draft
     order by a.assistant_id::text = p_assistant desc nulls last limit 1;
end $$;

CREATE FUNCTION tenantry.with_words(p_words tsvector, p_text text) RETURNS tsvector
    LANGUAGE plpgsql STABLE
    AS $$
begin
    return strip(coalesce(p_words, '') || to_tsvector('english', coalesce(p_text, '')));
exception when program_limit_exceeded then
    return p_words;
end $$;

CREATE FUNCTION tenantry.word_query(p_word text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((''''::text || replace(replace(p_word, '\'::text, '\\'::text), ''''::text, ''''''::text)) || ''''::text))::tsquery;

CREATE TABLE control.cells (
    cell_id text NOT NULL,
    database_url text,
    redis_url text
);

CREATE TABLE control.seal_keys (
    key_id text NOT NULL,
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT seal_keys_inner_pad_check CHECK ((length(inner_pad) = 64)),
    CONSTRAINT seal_keys_outer_pad_check CHECK ((length(outer_pad) = 64))
);

CREATE TABLE jobs.lines (
    tenant_id text NOT NULL,
    jobs integer DEFAULT 0 NOT NULL,
    served_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    fetches integer DEFAULT 0 NOT NULL,
    fetched_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT lines_fetches_check CHECK ((fetches >= 0)),
    CONSTRAINT lines_jobs_check CHECK ((jobs >= 0))
);

CREATE TABLE tenantry.assistant_versions (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    assistant_id uuid NOT NULL,
    version integer NOT NULL,
    content jsonb NOT NULL,
    subject_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT assistant_versions_content_check CHECK ((jsonb_typeof(content) = 'object'::text)),
    CONSTRAINT assistant_versions_tenant_id_check CHECK ((tenant_id <> ''::text)),
    CONSTRAINT assistant_versions_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY tenantry.assistant_versions FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.assistants (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    assistant_id uuid NOT NULL,
    slug text NOT NULL,
    draft jsonb NOT NULL,
    published integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT assistants_draft_check CHECK ((jsonb_typeof(draft) = 'object'::text)),
    CONSTRAINT assistants_slug_check CHECK (((slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text) AND (slug <> 'default'::text))),
    CONSTRAINT assistants_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.assistants FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.audit_events (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    event_id uuid NOT NULL,
    actor text NOT NULL,
    subject_id text NOT NULL,
    action text NOT NULL,
    resource text DEFAULT ''::text NOT NULL,
    outcome text NOT NULL,
    run_id uuid,
    thread_id uuid,
    attributes jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sequence bigint,
    previous_hash bytea,
    hash bytea,
    signature bytea,
    signed_by text,
    CONSTRAINT audit_events_outcome_check CHECK ((outcome = ANY (ARRAY['allowed'::text, 'refused'::text, 'failed'::text]))),
    CONSTRAINT audit_events_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.audit_events FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.checkpoint_blobs (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    thread_id text NOT NULL,
    checkpoint_ns text DEFAULT ''::text NOT NULL,
    channel text NOT NULL,
    version text NOT NULL,
    type text NOT NULL,
    blob bytea,
    CONSTRAINT checkpoint_blobs_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.checkpoint_blobs FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.checkpoint_writes (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    thread_id text NOT NULL,
    checkpoint_ns text DEFAULT ''::text NOT NULL,
    checkpoint_id text NOT NULL,
    task_id text NOT NULL,
    idx integer NOT NULL,
    channel text NOT NULL,
    type text,
    blob bytea NOT NULL,
    task_path text DEFAULT ''::text NOT NULL,
    CONSTRAINT checkpoint_writes_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.checkpoint_writes FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.checkpoints (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    thread_id text NOT NULL,
    checkpoint_ns text DEFAULT ''::text NOT NULL,
    checkpoint_id text NOT NULL,
    parent_checkpoint_id text,
    type text,
    checkpoint jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT checkpoints_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.checkpoints FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.document_texts (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    document_id uuid NOT NULL,
    body text NOT NULL,
    CONSTRAINT document_texts_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.document_texts FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.documents (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    document_id uuid NOT NULL,
    subject_id text NOT NULL,
    title text NOT NULL,
    media_type text NOT NULL,
    size bigint NOT NULL,
    sha256 bytea NOT NULL,
    passages integer NOT NULL,
    embedding_model text NOT NULL,
    status text NOT NULL,
    error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    passages_done integer DEFAULT 0 NOT NULL,
    passages_total integer DEFAULT 0 NOT NULL,
    word_listed boolean DEFAULT false NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    renewed boolean DEFAULT false NOT NULL,
    copied boolean DEFAULT false NOT NULL,
    url text,
    CONSTRAINT documents_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT documents_passages_done_check CHECK ((passages_done >= 0)),
    CONSTRAINT documents_passages_total_check CHECK ((passages_total >= 0)),
    CONSTRAINT documents_sha256_check CHECK ((length(sha256) = 32)),
    CONSTRAINT documents_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'reading'::text, 'embedding'::text, 'ready'::text, 'failed'::text]))),
    CONSTRAINT documents_tenant_id_check CHECK ((tenant_id <> ''::text)),
    CONSTRAINT documents_url_check CHECK ((url <> ''::text))
);

ALTER TABLE ONLY tenantry.documents FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.memories (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    memory_id uuid NOT NULL,
    subject_id text,
    namespace text[] DEFAULT '{memories}'::text[] NOT NULL,
    key text NOT NULL,
    value jsonb NOT NULL,
    embedding_model text DEFAULT ''::text NOT NULL,
    embedding public.vector,
    thread_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    embedded text,
    next_model text,
    next_embedding public.vector,
    next_of timestamp with time zone,
    CONSTRAINT memories_subject_id_check CHECK ((subject_id <> ''::text)),
    CONSTRAINT memories_tenant_id_check CHECK ((tenant_id <> ''::text)),
    CONSTRAINT memories_value_check CHECK ((jsonb_typeof(value) = 'object'::text))
);
ALTER TABLE ONLY tenantry.memories ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE ONLY tenantry.memories ALTER COLUMN next_embedding SET STORAGE MAIN;

ALTER TABLE ONLY tenantry.memories FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.memory_switches (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    subject_id text NOT NULL,
    enabled boolean NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT memory_switches_subject_id_check CHECK ((subject_id <> ''::text)),
    CONSTRAINT memory_switches_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.memory_switches FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.next_vectors (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    passage_id uuid NOT NULL,
    embedding_model text NOT NULL,
    embedding public.vector NOT NULL,
    dimensions integer GENERATED ALWAYS AS (public.vector_dims(embedding)) STORED NOT NULL,
    CONSTRAINT next_vectors_tenant_id_check CHECK ((tenant_id <> ''::text))
);
ALTER TABLE ONLY tenantry.next_vectors ALTER COLUMN embedding SET STORAGE MAIN;

ALTER TABLE ONLY tenantry.next_vectors FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.passages (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    passage_id uuid NOT NULL,
    document_id uuid NOT NULL,
    ordinal integer NOT NULL,
    body text NOT NULL,
    embedding_model text NOT NULL,
    embedding public.vector NOT NULL,
    dimensions integer GENERATED ALWAYS AS (public.vector_dims(embedding)) STORED NOT NULL,
    path text[] DEFAULT '{}'::text[] NOT NULL,
    page integer,
    start_offset integer,
    end_offset integer,
    lexemes tsvector GENERATED ALWAYS AS (to_tsvector('english'::regconfig, tenantry.searchable(body))) STORED NOT NULL,
    CONSTRAINT passages_offsets_check CHECK (((0 <= start_offset) AND (start_offset <= end_offset))),
    CONSTRAINT passages_page_check CHECK ((page > 0)),
    CONSTRAINT passages_tenant_id_check CHECK ((tenant_id <> ''::text))
);
ALTER TABLE ONLY tenantry.passages ALTER COLUMN embedding SET STORAGE MAIN;

ALTER TABLE ONLY tenantry.passages FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.runs (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    run_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    subject_id text NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    idempotency_key text,
    request_digest bytea,
    result jsonb,
    input_tokens bigint DEFAULT 0 NOT NULL,
    output_tokens bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    assistant text,
    assistant_version integer,
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['running'::text, 'success'::text, 'error'::text, 'interrupted'::text, 'cancelled'::text]))),
    CONSTRAINT runs_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.runs FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.staged_passages (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    document_id uuid NOT NULL,
    ordinal integer NOT NULL,
    passage_id uuid NOT NULL,
    body text NOT NULL,
    embedding public.vector,
    path text[] DEFAULT '{}'::text[] NOT NULL,
    page integer,
    start_offset integer,
    end_offset integer,
    CONSTRAINT staged_passages_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.staged_passages FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.threads (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    thread_id uuid NOT NULL,
    subject_id text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    lease_run_id uuid,
    fence bigint DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    quarantined_by uuid,
    shared boolean DEFAULT false NOT NULL,
    titled_by text DEFAULT 'message'::text NOT NULL,
    words tsvector,
    summary text,
    summary_upto text,
    CONSTRAINT threads_tenant_id_check CHECK ((tenant_id <> ''::text)),
    CONSTRAINT threads_titled_by_check CHECK ((titled_by = ANY (ARRAY['message'::text, 'model'::text, 'person'::text])))
);

ALTER TABLE ONLY tenantry.threads FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.uploads (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    document_id uuid NOT NULL,
    name text NOT NULL,
    title text,
    media_type text,
    content bytea NOT NULL,
    CONSTRAINT uploads_tenant_id_check CHECK ((tenant_id <> ''::text))
);
ALTER TABLE ONLY tenantry.uploads ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE ONLY tenantry.uploads FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.usage_events (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    event_id uuid NOT NULL,
    meter text NOT NULL,
    quantity bigint NOT NULL,
    model text DEFAULT ''::text NOT NULL,
    run_id uuid,
    subject_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    cost bigint DEFAULT 0 NOT NULL,
    CONSTRAINT usage_events_cost_check CHECK ((cost >= 0)),
    CONSTRAINT usage_events_quantity_check CHECK ((quantity >= 0)),
    CONSTRAINT usage_events_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.usage_events FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.user_preferences (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    subject_id text NOT NULL,
    says jsonb NOT NULL,
    CONSTRAINT user_preferences_says_check CHECK ((jsonb_typeof(says) = 'object'::text)),
    CONSTRAINT user_preferences_subject_id_check CHECK ((subject_id <> ''::text)),
    CONSTRAINT user_preferences_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.user_preferences FORCE ROW LEVEL SECURITY;

CREATE TABLE tenantry.word_lists (
    tenant_id text DEFAULT tenantry.current_tenant() NOT NULL,
    word text NOT NULL,
    segment integer NOT NULL,
    block integer NOT NULL,
    passages integer NOT NULL,
    passage_ids uuid[] NOT NULL,
    weights real[] NOT NULL,
    CONSTRAINT word_lists_tenant_id_check CHECK ((tenant_id <> ''::text))
);

ALTER TABLE ONLY tenantry.word_lists FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY control.api_keys
    ADD CONSTRAINT api_keys_digest_key UNIQUE (digest);

ALTER TABLE ONLY control.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY control.cells
    ADD CONSTRAINT cells_pkey PRIMARY KEY (cell_id);

ALTER TABLE ONLY control.corpora
    ADD CONSTRAINT corpora_pkey PRIMARY KEY (corpus_id);

ALTER TABLE ONLY control.issuers
    ADD CONSTRAINT issuers_pkey PRIMARY KEY (url);

ALTER TABLE ONLY control.key_uses
    ADD CONSTRAINT key_uses_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY control.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY control.plan_limits
    ADD CONSTRAINT plan_limits_pkey PRIMARY KEY (plan_id);

ALTER TABLE ONLY control.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (plan_id);

ALTER TABLE ONLY control.prices
    ADD CONSTRAINT prices_pkey PRIMARY KEY (model);

ALTER TABLE ONLY control.profiles
    ADD CONSTRAINT profiles_pkey PRIMARY KEY (name);

ALTER TABLE ONLY control.revocations
    ADD CONSTRAINT revocations_pkey PRIMARY KEY (tenant_id, subject_id, issuer, token_id);

ALTER TABLE ONLY control.seal_keys
    ADD CONSTRAINT seal_keys_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY control.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (tenant_id, corpus_id);

ALTER TABLE ONLY control.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY control.tool_settings
    ADD CONSTRAINT tool_settings_pkey PRIMARY KEY (tenant_id, tool);

ALTER TABLE ONLY control.universal_assistants
    ADD CONSTRAINT universal_assistants_pkey PRIMARY KEY (slug);

ALTER TABLE ONLY control.user_limits
    ADD CONSTRAINT user_limits_pkey PRIMARY KEY (tenant_id, subject_id);

ALTER TABLE ONLY control.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY jobs.ingestions
    ADD CONSTRAINT ingestions_pkey PRIMARY KEY (tenant_id, document_id);

ALTER TABLE ONLY jobs.lines
    ADD CONSTRAINT lines_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY tenantry.assistant_versions
    ADD CONSTRAINT assistant_versions_pkey PRIMARY KEY (tenant_id, assistant_id, version);

ALTER TABLE ONLY tenantry.assistants
    ADD CONSTRAINT assistants_pkey PRIMARY KEY (tenant_id, assistant_id);

ALTER TABLE ONLY tenantry.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (tenant_id, event_id);

ALTER TABLE ONLY tenantry.checkpoint_blobs
    ADD CONSTRAINT checkpoint_blobs_pkey PRIMARY KEY (tenant_id, thread_id, checkpoint_ns, channel, version);

ALTER TABLE ONLY tenantry.checkpoint_writes
    ADD CONSTRAINT checkpoint_writes_pkey PRIMARY KEY (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx);

ALTER TABLE ONLY tenantry.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id, thread_id, checkpoint_ns, checkpoint_id);

ALTER TABLE ONLY tenantry.document_texts
    ADD CONSTRAINT document_texts_pkey PRIMARY KEY (tenant_id, document_id);

ALTER TABLE ONLY tenantry.documents
    ADD CONSTRAINT documents_pkey PRIMARY KEY (tenant_id, document_id);

ALTER TABLE ONLY tenantry.memories
    ADD CONSTRAINT memories_pkey PRIMARY KEY (tenant_id, memory_id);

ALTER TABLE ONLY tenantry.memory_switches
    ADD CONSTRAINT memory_switches_pkey PRIMARY KEY (tenant_id, subject_id);

ALTER TABLE ONLY tenantry.next_vectors
    ADD CONSTRAINT next_vectors_pkey PRIMARY KEY (tenant_id, passage_id);

ALTER TABLE ONLY tenantry.passages
    ADD CONSTRAINT passages_pkey PRIMARY KEY (tenant_id, passage_id);

ALTER TABLE ONLY tenantry.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (tenant_id, run_id);

ALTER TABLE ONLY tenantry.staged_passages
    ADD CONSTRAINT staged_passages_pkey PRIMARY KEY (tenant_id, document_id, ordinal);

ALTER TABLE ONLY tenantry.threads
    ADD CONSTRAINT threads_pkey PRIMARY KEY (tenant_id, thread_id);

ALTER TABLE ONLY tenantry.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (tenant_id, document_id);

ALTER TABLE ONLY tenantry.usage_events
    ADD CONSTRAINT usage_events_pkey PRIMARY KEY (tenant_id, event_id);

ALTER TABLE ONLY tenantry.user_preferences
    ADD CONSTRAINT user_preferences_pkey PRIMARY KEY (tenant_id, subject_id);

ALTER TABLE ONLY tenantry.word_lists
    ADD CONSTRAINT word_lists_pkey PRIMARY KEY (tenant_id, word, segment, block);

CREATE INDEX api_keys_of_tenant ON control.api_keys USING btree (tenant_id, created_at, key_id);

CREATE INDEX subscriptions_of_corpus ON control.subscriptions USING btree (corpus_id);

CREATE INDEX ingestions_held ON jobs.ingestions USING btree (tenant_id, held_until) WHERE (holder IS NOT NULL);

CREATE INDEX ingestions_in_line ON jobs.ingestions USING btree (tenant_id, to_fetch, due_at, document_id);

CREATE INDEX lines_in_turn ON jobs.lines USING btree (served_at, tenant_id) WHERE (jobs > 0);

CREATE INDEX lines_to_fetch ON jobs.lines USING btree (fetched_at, tenant_id) WHERE (fetches > 0);

CREATE UNIQUE INDEX assistants_by_slug ON tenantry.assistants USING btree (tenant_id, slug);

CREATE INDEX assistants_recent ON tenantry.assistants USING btree (tenant_id, created_at DESC, assistant_id DESC);

CREATE INDEX audit_events_in_time ON tenantry.audit_events USING btree (tenant_id, created_at DESC, event_id DESC);

CREATE UNIQUE INDEX audit_events_sealed ON tenantry.audit_events USING btree (tenant_id, sequence) WHERE (sequence IS NOT NULL);

CREATE UNIQUE INDEX documents_by_content ON tenantry.documents USING btree (tenant_id, sha256);

CREATE INDEX documents_by_url ON tenantry.documents USING btree (tenant_id, url) WHERE (url IS NOT NULL);

CREATE INDEX documents_copied ON tenantry.documents USING btree (tenant_id, document_id) WHERE copied;

CREATE INDEX documents_not_word_listed ON tenantry.documents USING btree (tenant_id, document_id) WHERE (NOT word_listed);

CREATE INDEX documents_recent ON tenantry.documents USING btree (tenant_id, created_at DESC, document_id DESC);

CREATE INDEX memories_by_model ON tenantry.memories USING btree (tenant_id, embedding_model) WHERE (embedding IS NOT NULL);

CREATE UNIQUE INDEX memories_by_name ON tenantry.memories USING btree (tenant_id, COALESCE(subject_id, ''::text), namespace, key);

CREATE UNIQUE INDEX passages_of_document ON tenantry.passages USING btree (tenant_id, document_id, ordinal);

CREATE UNIQUE INDEX runs_idempotent ON tenantry.runs USING btree (tenant_id, subject_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE INDEX runs_of_thread ON tenantry.runs USING btree (tenant_id, thread_id);

CREATE INDEX staged_passages_to_embed ON tenantry.staged_passages USING btree (tenant_id, document_id, ordinal) WHERE (embedding IS NULL);

CREATE INDEX threads_recent ON tenantry.threads USING btree (tenant_id, updated_at DESC, thread_id DESC);

CREATE INDEX threads_recent_of_subject ON tenantry.threads USING btree (tenant_id, subject_id, updated_at DESC, thread_id DESC);

CREATE INDEX threads_shared ON tenantry.threads USING btree (tenant_id, updated_at DESC, thread_id DESC) WHERE shared;

CREATE INDEX usage_events_in_time ON tenantry.usage_events USING btree (tenant_id, created_at);

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.api_keys FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.corpora FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.issuers FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.plan_limits FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.plans FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.prices FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.profiles FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.revocations FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.subscriptions FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.tenants FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.tool_settings FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.universal_assistants FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

CREATE TRIGGER announce AFTER INSERT OR DELETE OR UPDATE ON control.user_limits FOR EACH STATEMENT EXECUTE FUNCTION control.announce();

ALTER TABLE ONLY control.api_keys
    ADD CONSTRAINT api_keys_replaced_by_fkey FOREIGN KEY (replaced_by) REFERENCES control.api_keys(key_id);

ALTER TABLE ONLY control.api_keys
    ADD CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES control.tenants(tenant_id);

ALTER TABLE ONLY control.corpora
    ADD CONSTRAINT corpora_corpus_id_fkey FOREIGN KEY (corpus_id) REFERENCES control.tenants(tenant_id) ON DELETE CASCADE;

ALTER TABLE ONLY control.key_uses
    ADD CONSTRAINT key_uses_key_id_fkey FOREIGN KEY (key_id) REFERENCES control.api_keys(key_id) ON DELETE CASCADE;

ALTER TABLE ONLY control.plan_limits
    ADD CONSTRAINT plan_limits_plan_id_fkey FOREIGN KEY (plan_id) REFERENCES control.plans(plan_id) ON DELETE CASCADE;

ALTER TABLE ONLY control.revocations
    ADD CONSTRAINT revocations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES control.tenants(tenant_id);

ALTER TABLE ONLY control.subscriptions
    ADD CONSTRAINT subscriptions_corpus_id_fkey FOREIGN KEY (corpus_id) REFERENCES control.corpora(corpus_id) ON DELETE CASCADE;

ALTER TABLE ONLY control.subscriptions
    ADD CONSTRAINT subscriptions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES control.tenants(tenant_id) ON DELETE CASCADE;

ALTER TABLE ONLY control.tenants
    ADD CONSTRAINT tenants_cell_id_fkey FOREIGN KEY (cell_id) REFERENCES control.cells(cell_id);

ALTER TABLE ONLY control.tenants
    ADD CONSTRAINT tenants_plan_id_fkey FOREIGN KEY (plan_id) REFERENCES control.plans(plan_id);

ALTER TABLE ONLY control.tool_settings
    ADD CONSTRAINT tool_settings_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES control.tenants(tenant_id);

ALTER TABLE ONLY control.user_limits
    ADD CONSTRAINT user_limits_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES control.tenants(tenant_id);

ALTER TABLE ONLY tenantry.assistant_versions
    ADD CONSTRAINT assistant_versions_tenant_id_assistant_id_fkey FOREIGN KEY (tenant_id, assistant_id) REFERENCES tenantry.assistants(tenant_id, assistant_id) ON DELETE CASCADE;

ALTER TABLE ONLY tenantry.document_texts
    ADD CONSTRAINT document_texts_tenant_id_document_id_fkey FOREIGN KEY (tenant_id, document_id) REFERENCES tenantry.documents(tenant_id, document_id) ON DELETE CASCADE;

ALTER TABLE ONLY tenantry.next_vectors
    ADD CONSTRAINT next_vectors_tenant_id_passage_id_fkey FOREIGN KEY (tenant_id, passage_id) REFERENCES tenantry.passages(tenant_id, passage_id) ON DELETE CASCADE;

ALTER TABLE ONLY tenantry.passages
    ADD CONSTRAINT passages_tenant_id_document_id_fkey FOREIGN KEY (tenant_id, document_id) REFERENCES tenantry.documents(tenant_id, document_id) ON DELETE CASCADE;

ALTER TABLE ONLY tenantry.runs
    ADD CONSTRAINT runs_tenant_id_thread_id_fkey FOREIGN KEY (tenant_id, thread_id) REFERENCES tenantry.threads(tenant_id, thread_id) ON DELETE CASCADE;

ALTER TABLE ONLY tenantry.staged_passages
    ADD CONSTRAINT staged_passages_tenant_id_document_id_fkey FOREIGN KEY (tenant_id, document_id) REFERENCES tenantry.documents(tenant_id, document_id) ON DELETE CASCADE;

ALTER TABLE ONLY tenantry.uploads
    ADD CONSTRAINT uploads_tenant_id_document_id_fkey FOREIGN KEY (tenant_id, document_id) REFERENCES tenantry.documents(tenant_id, document_id) ON DELETE CASCADE;

ALTER TABLE tenantry.assistant_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.assistants ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.audit_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.checkpoint_blobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.checkpoint_writes ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.checkpoints ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.document_texts ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.documents ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.memories ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.memory_switches ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.next_vectors ENABLE ROW LEVEL SECURITY;

CREATE POLICY operator_reads ON tenantry.audit_events FOR SELECT TO tenantry_operator USING (true);

CREATE POLICY operator_reads ON tenantry.usage_events FOR SELECT TO tenantry_operator USING (true);

CREATE POLICY owner_erases ON tenantry.assistant_versions TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.assistants TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.audit_events TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.checkpoint_blobs TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.checkpoint_writes TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.checkpoints TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.document_texts TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.documents TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.memories TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.memory_switches TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.next_vectors TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.passages TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.runs TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.staged_passages TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.threads TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.uploads TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.usage_events TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.user_preferences TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

CREATE POLICY owner_erases ON tenantry.word_lists TO tenantry_owner USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK (false);

ALTER TABLE tenantry.passages ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.runs ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.staged_passages ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON tenantry.assistant_versions TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.assistants TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.audit_events TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.checkpoint_blobs TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.checkpoint_writes TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.checkpoints TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.document_texts TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.documents TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.memories TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.memory_switches TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.next_vectors TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.passages TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.runs TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.staged_passages TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.threads TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.uploads TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.usage_events TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.user_preferences TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

CREATE POLICY tenant_isolation ON tenantry.word_lists TO tenantry_app USING ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))) WITH CHECK ((tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant)));

ALTER TABLE tenantry.threads ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.uploads ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.usage_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.user_preferences ENABLE ROW LEVEL SECURITY;

ALTER TABLE tenantry.word_lists ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA control TO tenantry_operator;

GRANT USAGE ON SCHEMA tenantry TO tenantry_app;
GRANT USAGE ON SCHEMA tenantry TO tenantry_operator;

REVOKE ALL ON FUNCTION control.announce() FROM PUBLIC;

REVOKE ALL ON FUNCTION control.merged(p_limits jsonb, p_said jsonb) FROM PUBLIC;

GRANT SELECT(tenant_id) ON TABLE control.tenants TO tenantry_operator;

GRANT SELECT(display_name) ON TABLE control.tenants TO tenantry_operator;

GRANT SELECT(status) ON TABLE control.tenants TO tenantry_operator;

GRANT SELECT(plan_id) ON TABLE control.tenants TO tenantry_operator;

GRANT SELECT(cell_id) ON TABLE control.tenants TO tenantry_operator;

GRANT SELECT(placement) ON TABLE control.tenants TO tenantry_operator;

GRANT SELECT(created_at) ON TABLE control.tenants TO tenantry_operator;

REVOKE ALL ON FUNCTION control.limit_tenant(p_tenant text, p_said jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION control.limit_tenant(p_tenant text, p_said jsonb) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.merge_user_limits(p_tenant text, p_subject text, p_said jsonb, p_narrowed jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION control.limit_user(p_tenant text, p_subject text, p_said jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION control.limit_user(p_tenant text, p_subject text, p_said jsonb) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.limits_of(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.limits_of(p_tenant text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.list_issuers(p_after text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION control.list_issuers(p_after text, p_limit integer) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.list_plans(p_after text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION control.list_plans(p_after text, p_limit integer) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.list_prices(p_after text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION control.list_prices(p_after text, p_limit integer) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.list_profiles() FROM PUBLIC;
GRANT ALL ON FUNCTION control.list_profiles() TO tenantry_operator;

REVOKE ALL ON FUNCTION control.list_revocations(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.list_revocations(p_tenant text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.list_universal_assistants() FROM PUBLIC;
GRANT ALL ON FUNCTION control.list_universal_assistants() TO tenantry_operator;

REVOKE ALL ON FUNCTION control.lock_plan(p_plan text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.lock_plan(p_plan text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.put_issuer(p_url text, p_audience text, p_jwks jsonb, p_jwks_url text, p_tenants text[], p_platform boolean, p_rules jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION control.put_issuer(p_url text, p_audience text, p_jwks jsonb, p_jwks_url text, p_tenants text[], p_platform boolean, p_rules jsonb) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.put_plan(p_plan jsonb, p_limits jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION control.put_plan(p_plan jsonb, p_limits jsonb) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.put_price(p_model text, p_input_nanos bigint, p_output_nanos bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION control.put_price(p_model text, p_input_nanos bigint, p_output_nanos bigint) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.put_profile(p_name text, p_says jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION control.put_profile(p_name text, p_says jsonb) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.put_universal_assistant(p_slug text, p_content jsonb, p_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION control.put_universal_assistant(p_slug text, p_content jsonb, p_most integer) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.remove_issuer(p_url text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.remove_issuer(p_url text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.remove_price(p_model text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.remove_price(p_model text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.remove_universal_assistant(p_slug text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.remove_universal_assistant(p_slug text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.revoke(p_tenant text, p_subject text, p_issuer text, p_token text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.revoke(p_tenant text, p_subject text, p_issuer text, p_token text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.set_status(p_tenant text, p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION control.set_status(p_tenant text, p_status text) TO tenantry_operator;

REVOKE ALL ON FUNCTION control.subscribe(p_tenant text, p_corpus text, p_most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION control.unsubscribe(p_tenant text, p_corpus text) FROM PUBLIC;

REVOKE ALL ON FUNCTION tenantry.current_tenant() FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.current_tenant() TO tenantry_app;
GRANT ALL ON FUNCTION tenantry.current_tenant() TO tenantry_operator;

REVOKE ALL ON FUNCTION tenantry.add_key(p_key_id uuid, p_digest bytea, p_subject text, p_role text, p_scopes text[], p_expires timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.add_key(p_key_id uuid, p_digest bytea, p_subject text, p_role text, p_scopes text[], p_expires timestamp with time zone) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.applied_migrations() FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.applied_migrations() TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.authenticate_key(p_digest bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.authenticate_key(p_digest bytea) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.claim_fetch(p_platform text, p_only text, p_holder uuid, p_lease_seconds double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.claim_fetch(p_platform text, p_only text, p_holder uuid, p_lease_seconds double precision) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.claim_ingestion(p_platform text, p_only text, p_holder uuid, p_lease_seconds double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.claim_ingestion(p_platform text, p_only text, p_holder uuid, p_lease_seconds double precision) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.commit_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint, p_rows jsonb, p_blobs bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.commit_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint, p_rows jsonb, p_blobs bytea[]) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.control_version() FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.control_version() TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.corpus_records(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.corpus_records(p_tenant text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.discard_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_rows jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.discard_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_rows jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.end_ingestion(p_document uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.end_ingestion(p_document uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.enqueue_fetches(p_documents uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.enqueue_fetches(p_documents uuid[]) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.enqueue_ingestion(p_document uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.enqueue_ingestion(p_document uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.enter(p_tenant text, p_seal text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.enter(p_tenant text, p_seal text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.filter_documents(p_tenant text, p_filter jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.filter_documents(p_tenant text, p_filter jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.find_key(p_key_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.find_key(p_key_id uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.find_user_limits(p_subject text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.find_user_limits(p_subject text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.forget_narrowed(p_subject text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.forget_narrowed(p_subject text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.forget_words(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.forget_words(p_tenant text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.get_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.get_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.ingestion_figures(p_platform text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.ingestion_figures(p_platform text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.issuer_record(p_platform text, p_url text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.issuer_record(p_platform text, p_url text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.tenant_record(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.tenant_record(p_tenant text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.limited_tenant_record(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.limited_tenant_record(p_tenant text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.list_keys(p_limit integer, p_after_time timestamp with time zone, p_after_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.list_keys(p_limit integer, p_after_time timestamp with time zone, p_after_id uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.list_words(p_tenant text, p_anew boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.list_words(p_tenant text, p_anew boolean) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.load_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.load_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.memory_of(p_tenant text, p_subject text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.memory_of(p_tenant text, p_subject text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.narrow_user(p_subject text, p_narrowed jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.narrow_user(p_subject text, p_narrowed jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.nearest_copied(p_tenant text, p_model text, p_vector public.vector) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.nearest_copied(p_tenant text, p_model text, p_vector public.vector) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.note_key_uses(p_platform text, p_keys uuid[], p_ages double precision[]) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.note_key_uses(p_platform text, p_keys uuid[], p_ages double precision[]) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.open_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_subject text, p_sees_all boolean, p_lease_seconds double precision, p_key text, p_digest bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.open_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_subject text, p_sees_all boolean, p_lease_seconds double precision, p_key text, p_digest bytea) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.open_run_as(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_subject text, p_sees_all boolean, p_lease_seconds double precision, p_key text, p_digest bytea, p_assistant text, p_draft boolean, p_goes_on boolean, p_universal jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.open_run_as(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean, p_subject text, p_sees_all boolean, p_lease_seconds double precision, p_key text, p_digest bytea, p_assistant text, p_draft boolean, p_goes_on boolean, p_universal jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.page_of_keys(p_limit integer, p_after_time timestamp with time zone, p_after_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.page_of_keys(p_limit integer, p_after_time timestamp with time zone, p_after_id uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.page_of_user_limits(p_limit integer, p_after text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.page_of_user_limits(p_limit integer, p_after text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.pages_to_fetch(p_platform text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.pages_to_fetch(p_platform text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.platform_profiles(p_platform text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.platform_profiles(p_platform text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.price_records(p_platform text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.price_records(p_platform text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.prune_checkpoints(p_tenant text, p_thread text, p_keep integer) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.prune_checkpoints(p_tenant text, p_thread text, p_keep integer) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.prune_thread(p_tenant text, p_thread uuid, p_keep integer) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.prune_thread(p_tenant text, p_thread uuid, p_keep integer) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.put_ingestion_back(p_document uuid, p_holder uuid, p_tries integer, p_after_seconds double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.put_ingestion_back(p_document uuid, p_holder uuid, p_tries integer, p_after_seconds double precision) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.put_profile(p_says jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.put_profile(p_says jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.quarantine_run(p_tenant text, p_run uuid, p_thread uuid, p_title text, p_rows jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.quarantine_run(p_tenant text, p_run uuid, p_thread uuid, p_title text, p_rows jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.rank_by_list(p_tenant text, p_words text[], p_new uuid[], p_documents uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.rank_by_list(p_tenant text, p_words text[], p_new uuid[], p_documents uuid[]) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.rank_by_word(p_tenant text, p_question text, p_documents uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.rank_by_word(p_tenant text, p_question text, p_documents uuid[]) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.read_fetched(p_document uuid, p_holder uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.read_fetched(p_document uuid, p_holder uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.recall_memories(p_tenant text, p_subject text, p_model text, p_vector text, p_limit integer, p_anyway boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.recall_memories(p_tenant text, p_subject text, p_model text, p_vector text, p_limit integer, p_anyway boolean) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.record_first(p_tenant text, p_event jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.record_first(p_tenant text, p_event jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.remembers(p_tenant text, p_subject text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.remembers(p_tenant text, p_subject text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.renew_ingestion(p_document uuid, p_holder uuid, p_lease_seconds double precision, p_came_on boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.renew_ingestion(p_document uuid, p_holder uuid, p_lease_seconds double precision, p_came_on boolean) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.renew_lease(p_tenant text, p_run uuid, p_thread uuid, p_fence bigint, p_lease_seconds double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.renew_lease(p_tenant text, p_run uuid, p_thread uuid, p_fence bigint, p_lease_seconds double precision) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.revoke_key(p_key_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.revoke_key(p_key_id uuid) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.rotate_key(p_key_id uuid, p_new_id uuid, p_digest bytea, p_overlap_seconds double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.rotate_key(p_key_id uuid, p_new_id uuid, p_digest bytea, p_overlap_seconds double precision) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit integer) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit integer, p_filter jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit integer, p_filter jsonb) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.searchable(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.searchable(p_text text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.settled_checkpoint(p_tenant text, p_thread text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.settled_checkpoint(p_tenant text, p_thread text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.store_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint, p_rows jsonb, p_blobs bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.store_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint, p_rows jsonb, p_blobs bytea[]) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.subscribe(p_corpus text, p_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.subscribe(p_corpus text, p_most integer) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.unsubscribe(p_corpus text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.unsubscribe(p_corpus text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.wanted_words(p_query text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.wanted_words(p_query text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.who_speaks(p_tenant text, p_subject text, p_assistant text, p_draft boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.who_speaks(p_tenant text, p_subject text, p_assistant text, p_draft boolean) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.with_words(p_words tsvector, p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.with_words(p_words tsvector, p_text text) TO tenantry_app;

REVOKE ALL ON FUNCTION tenantry.word_query(p_word text) FROM PUBLIC;
GRANT ALL ON FUNCTION tenantry.word_query(p_word text) TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.assistant_versions TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.assistants TO tenantry_app;

GRANT SELECT,INSERT ON TABLE tenantry.audit_events TO tenantry_app;
GRANT SELECT ON TABLE tenantry.audit_events TO tenantry_operator;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.checkpoint_blobs TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.checkpoint_writes TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.checkpoints TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.document_texts TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.documents TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.memories TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.memory_switches TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.next_vectors TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.passages TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.runs TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.staged_passages TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.threads TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.uploads TO tenantry_app;

GRANT SELECT,INSERT ON TABLE tenantry.usage_events TO tenantry_app;
GRANT SELECT ON TABLE tenantry.usage_events TO tenantry_operator;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.user_preferences TO tenantry_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE tenantry.word_lists TO tenantry_app;
