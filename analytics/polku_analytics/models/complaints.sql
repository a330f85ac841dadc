-- complaints: what people complained about, and when it was settled.
-- Grain: complaint of a person
-- Keys: person_key, complaint_id
-- Inputs: touchpoints, told_events
-- Order: person_key, opened_at
-- Increment: person
-- Definition: the first complaint_opened of each complaint id of a person (without an id: each event for itself, its source and
--   event id stand in). solved_at is the first complaint_solved of that person and id at or after opened_at; none: not solved yet.
WITH said AS (
  SELECT
    source,
    event_id,
    person_key,
    {{ id_or_own complaint_id | source | event_id }} AS complaint_id,
    complaint_topic AS topic,
    reason AS reason_text,
    order_id,
    product_id,
    contact_medium AS medium,
    resolution,
    value,
    currency
  FROM told_events
  WHERE event_name IN ('complaint_opened', 'complaint_solved')
),
told AS (
  SELECT
    s.*,
    t.person_id,
    t.session_key,
    t.account_id,
    t.event_name,
    t.event_time,
    t.channel,
    t.touchpoint_number,
    ROW_NUMBER() OVER (
      PARTITION BY t.person_key, t.event_name, s.complaint_id ORDER BY t.touchpoint_number
    ) AS report
  FROM touchpoints AS t
  JOIN said AS s ON s.person_key = t.person_key AND s.source = t.source AND s.event_id = t.event_id
  WHERE t.event_name IN ('complaint_opened', 'complaint_solved')
),
opened AS (
  SELECT * FROM told WHERE event_name = 'complaint_opened' AND report = 1
),
settled AS (
  SELECT
    o.person_key,
    o.complaint_id,
    s.event_time AS solved_at,
    s.resolution,
    s.value,
    s.currency,
    ROW_NUMBER() OVER (PARTITION BY o.person_key, o.complaint_id ORDER BY s.touchpoint_number) AS place
  FROM opened AS o
  JOIN told AS s
    ON s.person_key = o.person_key
    AND s.complaint_id = o.complaint_id
    AND s.event_name = 'complaint_solved'
    AND s.event_time >= o.event_time
)
SELECT
  o.complaint_id,
  o.person_key,
  o.person_id,
  o.session_key,
  o.account_id,
  o.event_time AS opened_at,
  o.topic,
  o.reason_text,
  o.channel,
  o.medium,
  o.order_id,
  o.product_id,
  s.solved_at,
  CAST({{ seconds_between o.event_time | s.solved_at }} AS DOUBLE) AS solved_seconds,
  s.resolution,
  s.value AS compensation,
  s.currency
FROM opened AS o
LEFT JOIN settled AS s ON s.person_key = o.person_key AND s.complaint_id = o.complaint_id AND s.place = 1
