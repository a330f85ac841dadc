-- satisfaction: what people answered, how good that is on its scale, and which touchpoint came before.
-- Grain: event
-- Keys: source, event_id
-- Inputs: touchpoints, told_events
-- Order: person_key, answered_at
-- Increment: person
-- Definition: answers to surveys (score as it was given), reviews and ratings (scale stars). band: nps 9–10, 7–8, 0–6; csat 1–5: 4–5,
--   3, 1–2; ces 1–7: 5–7, 4, 1–3; stars 0–5: from 4, from 3, below; yes_no: 1, –, 0 are promoter, passive, detractor; outside of
--   the scale, or on another one: none. touchpoint_before is the person's last earlier touchpoint that is an experience:
--   neither an answer, a request for one, a mail, a log-in or log-out, a page nor its speed.
WITH said AS (
  SELECT
    source,
    event_id,
    person_key,
    survey_id,
    CASE WHEN event_name = 'survey_answered' THEN scale ELSE 'stars' END AS scale,
    CASE WHEN event_name = 'survey_answered' THEN score ELSE rating END AS score,
    CASE
      WHEN event_name = 'content_rated' THEN 'content'
      WHEN event_name = 'review_submitted' THEN COALESCE(about, 'product')
      ELSE about
    END AS about,
    COALESCE(
      about_id, product_id, content_id, order_id
    ) AS about_id
  FROM told_events
  WHERE event_name IN ({{ answer_event_names }})
),
of_those_who_answered AS (
  SELECT
    t.*,
    MAX(CASE WHEN t.event_name NOT IN ({{ not_experienced_event_names }}) THEN t.touchpoint_number END) OVER (
      PARTITION BY t.person_key ORDER BY t.touchpoint_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS number_before
  FROM touchpoints AS t
  WHERE t.person_key IN (SELECT person_key FROM said)
)
SELECT
  t.person_key,
  t.person_id,
  t.session_key,
  t.account_id,
  t.source,
  t.event_id,
  t.event_name,
  t.event_time AS answered_at,
  t.channel,
  s.survey_id,
  s.scale,
  s.score,
  CASE
    WHEN s.scale = 'nps' AND s.score BETWEEN 0 AND 10 THEN
      CASE WHEN s.score >= 9 THEN 'promoter' WHEN s.score >= 7 THEN 'passive' ELSE 'detractor' END
    WHEN s.scale = 'csat' AND s.score BETWEEN 1 AND 5 THEN
      CASE WHEN s.score >= 4 THEN 'promoter' WHEN s.score >= 3 THEN 'passive' ELSE 'detractor' END
    WHEN s.scale = 'ces' AND s.score BETWEEN 1 AND 7 THEN
      CASE WHEN s.score >= 5 THEN 'promoter' WHEN s.score >= 4 THEN 'passive' ELSE 'detractor' END
    WHEN s.scale = 'stars' AND s.score BETWEEN 0 AND 5 THEN
      CASE WHEN s.score >= 4 THEN 'promoter' WHEN s.score >= 3 THEN 'passive' ELSE 'detractor' END
    WHEN s.scale = 'yes_no' AND s.score = 1 THEN 'promoter'
    WHEN s.scale = 'yes_no' AND s.score = 0 THEN 'detractor'
  END AS band,
  s.about,
  s.about_id,
  b.touchpoint AS touchpoint_before,
  b.event_name AS event_before,
  b.event_time AS before_at
FROM of_those_who_answered AS t
JOIN said AS s ON s.person_key = t.person_key AND s.source = t.source AND s.event_id = t.event_id
LEFT JOIN of_those_who_answered AS b ON b.person_key = t.person_key AND b.touchpoint_number = t.number_before
