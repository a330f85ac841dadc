-- sessions: one row per visit: where it began and ended, how long it took, what it brought.
-- Grain: session
-- Keys: session_key
-- Inputs: touchpoints
-- Order: person_key, started_at
-- Definition: touchpoints of one session_key. entry and exit are the first and the last touchpoint; duration_seconds is the
--   time between them (0 for one event). Page paths, channel, device, marketing channel and campaign are the first known ones
--   of the session (exit_page_path the last); the marketing channel is its channel group. engaged_seconds adds up the times
--   between touchpoints next to each other, each for 60 seconds at most. engaged: it took more than 10 seconds, or has an
--   order or at least two pages or screens.
WITH waits AS (
  SELECT
    session_key,
    {{ microseconds_between LAG(event_time) OVER (PARTITION BY session_key ORDER BY touchpoint_number) | event_time }}
      AS microseconds
  FROM touchpoints
),
engagement AS (
  SELECT session_key, SUM(LEAST(COALESCE(microseconds, 0), 60000000)) AS microseconds FROM waits GROUP BY session_key
)
SELECT
  t.session_key,
  MIN(person_key) AS person_key,
  MIN(person_id) AS person_id,
  MIN(session_id) AS session_id,
  MAX_BY(account_id, touchpoint_number) AS account_id,
  MIN(event_time) AS started_at,
  MAX(event_time) AS ended_at,
  CAST({{ seconds_between MIN(event_time) | MAX(event_time) }} AS DOUBLE) AS duration_seconds,
  CAST(MIN(g.microseconds) AS DOUBLE) / 1000000 AS engaged_seconds,
  COUNT(order_id) > 0
    OR COUNT(CASE WHEN event_name IN ('page_viewed', 'screen_viewed') THEN 1 END) >= 2
    OR {{ seconds_between MIN(event_time) | MAX(event_time) }} > 10 AS engaged,
  COUNT(*) AS events,
  MIN_BY(touchpoint, touchpoint_number) AS entry_touchpoint,
  MAX_BY(touchpoint, touchpoint_number) AS exit_touchpoint,
  MIN_BY(page_path, CASE WHEN page_path IS NOT NULL THEN touchpoint_number END) AS entry_page_path,
  MAX_BY(page_path, CASE WHEN page_path IS NOT NULL THEN touchpoint_number END) AS exit_page_path,
  MIN_BY(channel, CASE WHEN channel IS NOT NULL THEN touchpoint_number END) AS channel,
  MIN_BY(device, CASE WHEN device IS NOT NULL THEN touchpoint_number END) AS device,
  MIN_BY(marketing_channel, CASE WHEN marketing_channel IS NOT NULL THEN touchpoint_number END) AS marketing_channel,
  MIN_BY(utm_campaign, CASE WHEN utm_campaign IS NOT NULL THEN touchpoint_number END) AS utm_campaign,
  COUNT(order_id) AS orders,
  CASE WHEN COUNT(order_id) > 0 THEN SUM(revenue) ELSE 0.0 END AS revenue
FROM touchpoints AS t
JOIN engagement AS g ON g.session_key = t.session_key
GROUP BY t.session_key
