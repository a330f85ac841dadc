-- contacts: every time somebody spoke or wrote with an employee or a chatbot.
-- Grain: event
-- Keys: source, event_id
-- Inputs: touchpoints, told_events
-- Order: person_key, contacted_at
-- Increment: person
-- Definition: the events {{ contact_events }}. medium is contact_medium, reason is contact_reason (the words in `reason` are
--   reason_text). repeat_contact: the same person had a contact for the same reason, or about the same order, at most
--   {{ repeat_contact_days }} days before (end included). contact_number counts the person's contacts from 1.
WITH said AS (
  SELECT
    source,
    event_id,
    person_key,
    contact_medium AS medium,
    agent_id,
    agent_role,
    contact_reason AS reason,
    reason AS reason_text,
    duration_seconds,
    wait_seconds,
    resolved,
    order_id,
    store_id
  FROM told_events
  WHERE event_name IN ({{ contact_event_names }})
),
contacted AS (
  SELECT
    t.person_key,
    t.person_id,
    t.session_key,
    t.account_id,
    t.source,
    t.event_id,
    t.touchpoint_number,
    t.event_time AS contacted_at,
    t.channel,
    s.medium,
    s.agent_id,
    s.agent_role,
    s.reason,
    s.reason_text,
    s.duration_seconds,
    s.wait_seconds,
    s.resolved,
    s.order_id,
    s.store_id
  FROM touchpoints AS t
  JOIN said AS s ON s.person_key = t.person_key AND s.source = t.source AND s.event_id = t.event_id
  WHERE t.event_name IN ({{ contact_event_names }})
),
followed AS (
  SELECT
    c.*,
    ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY touchpoint_number) AS contact_number,
    LAG(contacted_at) OVER (PARTITION BY person_key, reason ORDER BY touchpoint_number) AS same_reason_at,
    LAG(contacted_at) OVER (PARTITION BY person_key, order_id ORDER BY touchpoint_number) AS same_order_at
  FROM contacted AS c
)
SELECT
  person_key,
  person_id,
  session_key,
  account_id,
  source,
  event_id,
  contacted_at,
  channel,
  medium,
  agent_id,
  agent_role,
  reason,
  reason_text,
  duration_seconds,
  wait_seconds,
  resolved,
  order_id,
  store_id,
  contact_number,
  COALESCE(reason IS NOT NULL AND same_reason_at + INTERVAL '{{ repeat_contact_days }}' DAY >= contacted_at, FALSE)
    OR COALESCE(order_id IS NOT NULL AND same_order_at + INTERVAL '{{ repeat_contact_days }}' DAY >= contacted_at, FALSE)
    AS repeat_contact
FROM followed
