-- daily_visits: who was there on a day, by channel; what daily_metrics takes its people, sessions and touchpoints from.
-- Grain: day (UTC) and channel
-- Keys: day, channel
-- Inputs: touchpoints
-- Increment: sum
-- Order: day, channel
-- Definition: touchpoints of the channel on that day, and the sessions and people that had any. A table of its own, because these
--   add up over people: what is new can be added without counting everything again.
SELECT
  CAST(event_time AS DATE) AS day,
  channel,
  COUNT(*) AS touchpoints,
  COUNT(DISTINCT session_key) AS sessions,
  COUNT(DISTINCT person_key) AS people
FROM touchpoints
GROUP BY CAST(event_time AS DATE), channel
