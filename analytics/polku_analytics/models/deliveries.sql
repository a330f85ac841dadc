-- deliveries: every shipment of an order: what was promised, and whether it was kept.
-- Grain: shipment
-- Keys: order_id, shipment_id
-- Inputs: commerce_events, orders
-- Increment: person
-- Order: dispatched_at, order_id, shipment_id
-- Definition: the order_shipped and order_delivered events of one order id and shipment id; without a shipment id they belong to
--   the one that the order's events name first, if they name any. The person is the one who ordered, else the one the first of the events belongs to. promised_at is
--   the promise made first; delivered_at the first delivery (the time of the event where it gives none). on_time: delivered not
--   after the promise; unknown without a promise or while it is not delivered. late_hours: hours from the promise to the
--   delivery, 0 if on time. dispatched_at: when it was shipped, else delivered.
WITH told AS (
  SELECT
    order_id,
    COALESCE(
      shipment_id,
      FIRST_VALUE(shipment_id) OVER (
        PARTITION BY order_id ORDER BY CASE WHEN shipment_id IS NULL THEN 1 ELSE 0 END, event_time, event_id, source
      )
    ) AS shipment_id,
    event_name,
    event_id,
    source,
    event_time,
    person_key,
    session_key,
    account_id,
    channel,
    carrier,
    promised_at,
    CASE WHEN event_name = 'order_delivered' THEN COALESCE(delivered_at, event_time) END AS delivered_at
  FROM commerce_events
  WHERE event_name IN ('order_shipped', 'order_delivered') AND order_id IS NOT NULL
),
shipments AS (
  SELECT
    order_id,
    shipment_id,
    MIN_BY(person_key, CASE WHEN person_key IS NOT NULL THEN {{ in_order }} END) AS person_key,
    MIN_BY(session_key, CASE WHEN session_key IS NOT NULL THEN {{ in_order }} END) AS session_key,
    MIN_BY(account_id, CASE WHEN account_id IS NOT NULL THEN {{ in_order }} END) AS account_id,
    MIN_BY(carrier, CASE WHEN carrier IS NOT NULL THEN {{ in_order }} END) AS carrier,
    MIN(CASE WHEN event_name = 'order_shipped' THEN event_time END) AS shipped_at,
    MIN_BY(promised_at, CASE WHEN promised_at IS NOT NULL THEN {{ in_order }} END) AS promised_at,
    MIN(delivered_at) AS delivered_at
  FROM told
  GROUP BY order_id, shipment_id
),
addressed AS (
  SELECT *
  FROM (
    SELECT
      order_id, person_key, session_key, account_id, ordered_at, channel, cancelled,
      ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY ordered_at, event_name) AS place
    FROM orders
  ) AS numbered
  WHERE place = 1
)
SELECT
  s.order_id,
  s.shipment_id,
  COALESCE(o.person_key, s.person_key) AS person_key,
  COALESCE(o.session_key, s.session_key) AS session_key,
  COALESCE(o.account_id, s.account_id) AS account_id,
  o.ordered_at,
  o.channel,
  s.carrier,
  COALESCE(s.shipped_at, s.delivered_at) AS dispatched_at,
  s.shipped_at,
  s.promised_at,
  s.delivered_at,
  s.delivered_at <= s.promised_at AS on_time,
  CASE
    WHEN s.delivered_at <= s.promised_at THEN 0.0
    ELSE CAST({{ seconds_between s.promised_at | s.delivered_at }} AS DOUBLE) / 3600.0
  END AS late_hours,
  COALESCE(o.cancelled, FALSE) AS cancelled
FROM shipments AS s
LEFT JOIN addressed AS o ON o.order_id = s.order_id
WHERE COALESCE(o.person_key, s.person_key) IS NOT NULL
