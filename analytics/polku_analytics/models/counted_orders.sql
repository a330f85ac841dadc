-- counted_orders: which event counts for which order, once per order however often it was reported.
-- Grain: order
-- Keys: event_name, order_id
-- Inputs: ordered_events
-- Increment: person
-- Stored: no
-- Definition: the first event of each order id among {{ order_events }}; an event without an order id is an order of its
--   own (its source and event id stand in: `shop:e1`). order_number counts the person's orders from 1 by time.
WITH reported AS (
  SELECT
    *,
    {{ id_or_own order_id | source | event_id }} AS order_key,
    ROW_NUMBER() OVER (
      PARTITION BY event_name, {{ id_or_own order_id | source | event_id }} ORDER BY event_time, event_id, source
    ) AS report
  FROM ordered_events
  WHERE event_name IN ({{ order_event_names }})
)
SELECT
  order_key AS order_id,
  event_name,
  source,
  event_id,
  person_key,
  person_id,
  touchpoint_number,
  event_time AS ordered_at,
  channel,
  marketing_channel,
  utm_campaign,
  account_id,
  order_revenue AS revenue,
  order_currency AS currency,
  CAST(order_items AS DOUBLE) AS items,
  ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY touchpoint_number) AS order_number,
  ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY touchpoint_number) = 1 AS first_order
FROM reported
WHERE report = 1
