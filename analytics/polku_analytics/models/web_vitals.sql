-- web_vitals: how fast a page was for the person who opened it.
-- Grain: measurement
-- Keys: source, event_id
-- Inputs: unique_events, touchpoints
-- Increment: person
-- Order: page, measured_at
-- Definition: events that measure a page ({{ performance_event_names }}), as they were sent: milliseconds, and cls without a
--   unit. page is the path. Percentiles are for the analysis: those of groups cannot be put together.
SELECT
  t.person_key,
  t.session_key,
  t.account_id,
  t.event_time AS measured_at,
  CAST(t.event_time AS DATE) AS day,
  t.source,
  t.event_id,
  t.page_path AS page,
  {{ property page_type | string }} AS page_type,
  t.channel,
  t.device,
  t.os,
  t.browser,
  t.country,
  {{ property load_ms | double }} AS load_ms,
  {{ property ttfb_ms | double }} AS ttfb_ms,
  {{ property lcp_ms | double }} AS lcp_ms,
  {{ property inp_ms | double }} AS inp_ms,
  {{ property cls | double }} AS cls
FROM unique_events AS e
JOIN (SELECT * FROM touchpoints WHERE event_name IN ({{ performance_event_names }})) AS t
  ON t.source = e.source AND t.event_id = e.event_id
WHERE e.event_name IN ({{ performance_event_names }})
