-- sessions: one row per visit: where it began and ended, how long it took, what it brought.
-- Grain: session
-- Keys: session_key
-- Inputs: touchpoints
-- Order: person_key, started_at
-- Definition: touchpoints of one session_key. entry and exit are the first and the last touchpoint; duration_seconds is the
--   time between them (0 for one event). Page paths, channel, device, marketing channel and campaign are the first known ones
--   of the session (exit_page_path the last).
SELECT
  session_key,
  MIN(person_key) AS person_key,
  MIN(person_id) AS person_id,
  MIN(session_id) AS session_id,
  MAX_BY(account_id, touchpoint_number) AS account_id,
  MIN(event_time) AS started_at,
  MAX(event_time) AS ended_at,
  CAST({{ seconds_between MIN(event_time) | MAX(event_time) }} AS DOUBLE) AS duration_seconds,
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
  COALESCE(SUM(revenue), 0.0) AS revenue
FROM touchpoints
GROUP BY session_key
