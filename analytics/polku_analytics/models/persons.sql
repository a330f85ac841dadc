-- persons: one row per person: since when, known or not, what they did, where they are in the journey, their latest traits.
-- Grain: person
-- Keys: person_key (dense from 0 by first_seen, then person_id), person_id
-- Inputs: person_facts, touchpoints, sessions, orders, stages, latest_traits
-- Order: person_key
-- Definition: a person is a group of ids that belong together (docs/definitions.md, Identity). person_id is the user id that
--   was seen first, else the anonymous id. known_person: the person has a user id. stage is the furthest entered. revenue
--   is in the currency of the latest order; orders in others are not in it. It is null where none of them
--   says its revenue, and 0 of who has not ordered.
SELECT
  p.person_key,
  p.person_id,
  p.known_person,
  p.first_seen,
  p.last_seen,
  p.user_ids,
  p.anonymous_ids,
  COALESCE(t.touchpoints, 0) AS touchpoints,
  COALESCE(s.sessions, 0) AS sessions,
  COALESCE(o.orders, 0) AS orders,
  CASE WHEN o.orders > 0 THEN o.revenue ELSE 0.0 END AS revenue,
  o.first_ordered_at,
  o.last_ordered_at,
  t.first_channel,
  t.first_marketing_channel,
  g.stage,
  g.stage_number,
  g.entered_at AS stage_entered_at
  {{ trait_columns }}
FROM person_facts AS p
LEFT JOIN (
  SELECT
    person_key,
    COUNT(*) AS touchpoints,
    MIN_BY(channel, CASE WHEN channel IS NOT NULL THEN touchpoint_number END) AS first_channel,
    MIN_BY(marketing_channel, CASE WHEN marketing_channel IS NOT NULL THEN touchpoint_number END) AS first_marketing_channel
  FROM touchpoints
  GROUP BY person_key
) AS t ON t.person_key = p.person_key
LEFT JOIN (
  SELECT person_key, COUNT(*) AS sessions FROM sessions GROUP BY person_key
) AS s ON s.person_key = p.person_key
LEFT JOIN (
  SELECT
    person_key,
    COUNT(*) AS orders,
    SUM(CASE WHEN COALESCE(currency, '') = latest_currency THEN revenue END) AS revenue,
    MIN(ordered_at) AS first_ordered_at,
    MAX(ordered_at) AS last_ordered_at
  FROM (
    SELECT
      orders.*,
      FIRST_VALUE(COALESCE(currency, '')) OVER (PARTITION BY person_key ORDER BY order_number DESC) AS latest_currency
    FROM orders
  ) AS of_person
  GROUP BY person_key
) AS o ON o.person_key = p.person_key
LEFT JOIN (SELECT * FROM stages WHERE is_present) AS g ON g.person_key = p.person_key
LEFT JOIN latest_traits AS l ON l.person_key = p.person_key
