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
-- Names as numbers, because millions of pairs are counted.
WITH names AS (
  SELECT touchpoint, CAST(ROW_NUMBER() OVER (ORDER BY touchpoint) AS INT) AS number
  FROM (SELECT DISTINCT touchpoint FROM touchpoints) AS d
),
followed AS (
  SELECT
    t.person_key,
    t.touchpoint_number,
    t.session_key,
    t.event_time,
    n.number,
    LEAD(n.number) OVER of_person AS person_next,
    LEAD(t.event_time) OVER of_person AS person_next_time,
    LEAD(n.number) OVER of_session AS session_next,
    LEAD(t.event_time) OVER of_session AS session_next_time
  FROM touchpoints AS t
  JOIN names AS n ON n.touchpoint = t.touchpoint
  WINDOW
    of_person AS (PARTITION BY t.person_key ORDER BY t.touchpoint_number),
    of_session AS (PARTITION BY t.session_key ORDER BY t.touchpoint_number)
),
pairs AS (
  SELECT 'person' AS scope, number AS from_number, person_next AS to_number, person_key,
    {{ microseconds_between event_time | person_next_time }} AS microseconds
  FROM followed
  UNION ALL
  SELECT 'person', NULL, number, person_key, NULL FROM followed WHERE touchpoint_number = 1
  UNION ALL
  SELECT 'session', number, session_next, person_key,
    {{ microseconds_between event_time | session_next_time }}
  FROM followed
  UNION ALL
  SELECT 'session', NULL, number, person_key, NULL FROM followed
  WHERE session_key = person_key * 16777216 + touchpoint_number
),
of_people AS (
  SELECT scope, from_number, to_number, person_key, COUNT(*) AS transitions, SUM(microseconds) AS microseconds
  FROM pairs
  GROUP BY scope, from_number, to_number, person_key
),
sums AS (
  SELECT scope, from_number, to_number, SUM(transitions) AS transitions, COUNT(*) AS people,
    SUM(microseconds) AS microseconds
  FROM of_people
  GROUP BY scope, from_number, to_number
)
SELECT
  s.scope,
  f.touchpoint AS from_touchpoint,
  t.touchpoint AS to_touchpoint,
  CAST(s.transitions AS BIGINT) AS transitions,
  s.people,
  CAST(COALESCE(s.microseconds, 0) AS BIGINT) AS total_microseconds
FROM sums AS s
LEFT JOIN names AS f ON f.number = s.from_number
LEFT JOIN names AS t ON t.number = s.to_number
