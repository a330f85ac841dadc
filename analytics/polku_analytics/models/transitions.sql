-- transitions: which touchpoint follows which, how often, for how many people, after how long.
-- Grain: scope, from and to touchpoint
-- Keys: scope, from_touchpoint, to_touchpoint
-- Inputs: touchpoints
-- Order: scope, transitions DESC, from_touchpoint, to_touchpoint
-- Increment: sum
-- Definition: pairs of touchpoints that follow each other directly, repeats included: in scope person among all touchpoints
--   of a person, in scope session within one session. No from_touchpoint: it is the first of its scope; no to_touchpoint:
--   it is the last so far. people counts each person once per row; total_microseconds is the time between all
--   of them together (medians: `polku graph`).
WITH followed AS (
  SELECT
    person_key,
    touchpoint_number,
    session_key,
    touchpoint,
    event_time,
    LEAD(touchpoint) OVER (PARTITION BY person_key ORDER BY touchpoint_number) AS person_next,
    LEAD(event_time) OVER (PARTITION BY person_key ORDER BY touchpoint_number) AS person_next_time,
    LEAD(touchpoint) OVER (PARTITION BY session_key ORDER BY touchpoint_number) AS session_next,
    LEAD(event_time) OVER (PARTITION BY session_key ORDER BY touchpoint_number) AS session_next_time
  FROM touchpoints
),
pairs AS (
  SELECT 'person' AS scope, touchpoint AS from_touchpoint, person_next AS to_touchpoint, person_key,
    {{ microseconds_between event_time | person_next_time }} AS microseconds
  FROM followed
  UNION ALL
  SELECT 'person', NULL, touchpoint, person_key, NULL FROM followed WHERE touchpoint_number = 1
  UNION ALL
  SELECT 'session', touchpoint, session_next, person_key,
    {{ microseconds_between event_time | session_next_time }}
  FROM followed
  UNION ALL
  SELECT 'session', NULL, touchpoint, person_key, NULL FROM followed
  WHERE session_key = person_key * 16777216 + touchpoint_number
)
SELECT
  scope,
  from_touchpoint,
  to_touchpoint,
  COUNT(*) AS transitions,
  COUNT(DISTINCT person_key) AS people,
  CAST(COALESCE(SUM(microseconds), 0) AS BIGINT) AS total_microseconds
FROM pairs
GROUP BY scope, from_touchpoint, to_touchpoint
