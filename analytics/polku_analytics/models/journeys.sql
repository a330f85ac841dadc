-- journeys: the way of each person to each goal of the plan, again and again: when it began, what it took, how it ended.
-- Grain: person, goal and journey
-- Keys: person_key, goal, journey_number
-- Inputs: ordered_events, touchpoints, sessions, orders
-- Order: person_key, goal, journey_number
-- Increment: person
-- Definition: a person's touchpoints, cut after each that reaches the goal (an order counts once). Each piece is a journey: outcome
--   reached, or open for the last piece if it did not get there. A person who has touchpoints has a journey to every goal.
--   steps counts its touchpoints with the last one, seconds is the time from the first to the last. first_channel is the
--   channel of the first touchpoint, first_marketing_channel that of its session. goal_event_id and value are those of the
--   touchpoint that reached the goal.
WITH goals AS (
  {{ goals }}
),
reached AS (
  {{ goal_events }}
),
counted AS (
  SELECT
    r.*,
    COALESCE(
      LAG(r.touchpoint_number) OVER (PARTITION BY r.person_key, r.goal ORDER BY r.touchpoint_number), 0
    ) + 1 AS first_number,
    ROW_NUMBER() OVER (PARTITION BY r.person_key, r.goal ORDER BY r.touchpoint_number) AS journey_number
  FROM reached AS r
),
so_far AS (
  SELECT person_key, goal, MAX(touchpoint_number) AS last_number, MAX(journey_number) AS journeys
  FROM counted
  GROUP BY person_key, goal
),
people AS (
  SELECT person_key, MAX(touchpoint_number) AS last_number, MAX(event_time) AS last_at FROM touchpoints GROUP BY person_key
),
pieces AS (
  SELECT
    person_key, goal, journey_number, first_number, touchpoint_number AS last_number, event_time AS ended_at,
    'reached' AS outcome, event_id AS goal_event_id, goal_value
  FROM counted
  UNION ALL
  SELECT
    p.person_key, g.goal, COALESCE(s.journeys, 0) + 1, COALESCE(s.last_number, 0) + 1, p.last_number, p.last_at,
    'open', CAST(NULL AS VARCHAR), CAST(NULL AS DOUBLE)
  FROM people AS p
  CROSS JOIN goals AS g
  LEFT JOIN so_far AS s ON s.person_key = p.person_key AND s.goal = g.goal
  WHERE p.last_number > COALESCE(s.last_number, 0)
),
-- A person's first touchpoint begins a journey to every goal: what is known of it is looked up once.
firsts AS (
  SELECT t.*, s.marketing_channel AS session_channel
  FROM (SELECT DISTINCT person_key, first_number FROM pieces) AS p
  JOIN touchpoints AS t ON t.person_key = p.person_key AND t.touchpoint_number = p.first_number
  LEFT JOIN sessions AS s ON s.person_key = t.person_key AND s.session_key = t.session_key
)
SELECT
  j.person_key,
  t.person_id,
  t.account_id,
  j.goal,
  j.journey_number,
  t.event_time AS started_at,
  j.ended_at,
  j.outcome,
  j.last_number - j.first_number + 1 AS steps,
  CAST({{ seconds_between t.event_time | j.ended_at }} AS DOUBLE) AS seconds,
  t.channel AS first_channel,
  t.session_channel AS first_marketing_channel,
  t.touchpoint AS first_touchpoint,
  j.goal_event_id,
  j.goal_value AS value
FROM pieces AS j
JOIN firsts AS t ON t.person_key = j.person_key AND t.touchpoint_number = j.first_number
