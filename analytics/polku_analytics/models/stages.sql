-- stages: when each person first entered each stage of the journey, and the stage they are in.
-- Grain: person and stage
-- Keys: person_key, stage
-- Inputs: touchpoints
-- Order: person_key, stage_number
-- Definition: entered_at is the person's first touchpoint of the stage. is_present marks the furthest stage the person has
--   entered, in the order of the plan: who has bought does not fall back by looking around again.
WITH entries AS (
  SELECT person_key, stage, MIN(touchpoint_number) AS touchpoint_number, COUNT(*) AS touchpoints, MAX(event_time) AS last_at
  FROM touchpoints
  WHERE stage IS NOT NULL
  GROUP BY person_key, stage
),
numbered AS (
  SELECT entries.*, {{ stage_number }} AS stage_number
  FROM entries
)
SELECT
  t.person_key,
  t.person_id,
  n.stage,
  n.stage_number,
  t.event_time AS entered_at,
  n.last_at,
  n.touchpoints,
  t.event_id,
  t.source,
  t.event_name,
  t.touchpoint,
  t.channel,
  n.stage_number = MAX(n.stage_number) OVER (PARTITION BY n.person_key) AS is_present
FROM numbered AS n
JOIN touchpoints AS t
  ON t.person_key = n.person_key AND t.touchpoint_number = n.touchpoint_number
