-- preferences: which product categories each person looks at and puts into the cart.
-- Grain: person and category
-- Keys: person_key, category
-- Inputs: told_events
-- Order: person_key, place
-- Increment: person
-- Definition: viewed counts product_viewed events with the category, added what puts something into the cart. place 1 is the preferred one: most
--   often added, then most often viewed, then seen last, then by name.
WITH seen AS (
  SELECT
    person_key,
    category,
    CASE WHEN event_name IN ({{ cart_adding_event_names }}) THEN 1 ELSE 0 END AS is_added,
    event_time
  FROM told_events
  WHERE event_name IN ('product_viewed', {{ cart_adding_event_names }}) AND person_key IS NOT NULL
),
counted AS (
  SELECT
    person_key,
    category,
    CAST(SUM(1 - is_added) AS BIGINT) AS viewed,
    CAST(SUM(is_added) AS BIGINT) AS added,
    MAX(event_time) AS last_at
  FROM seen
  WHERE category IS NOT NULL
  GROUP BY person_key, category
)
SELECT
  person_key,
  category,
  viewed,
  added,
  last_at,
  ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY added DESC, viewed DESC, last_at DESC, category) AS place
FROM counted
