-- orders: what people bought, once per order however often it was reported, and what is left of it.
-- Grain: order
-- Keys: event_name, order_id
-- Inputs: counted_orders, touchpoints, commerce_events, order_lines
-- Increment: person
-- Order: ordered_at, order_id
-- Definition: one row for each row of counted_orders ({{ order_events }}). returned_value and refunded_value are the sums of what
--   the order's order_returned and order_refunded events give as value (a refund: revenue, value or total, the first it has);
--   an event without an amount in the order's currency is worth what its products brought in the order, one with neither
--   amount nor products the whole order. Neither is more than the revenue. net_revenue is the revenue less the larger of the two (a refund mostly
--   pays for what came back), 0 if the order was cancelled. margin is the net revenue less the cost of the pieces that were
--   kept; unknown unless the cost of every line is known. Amounts are in `currency` and never converted.
WITH after AS (
  SELECT
    c.source,
    c.event_id,
    c.event_name,
    c.event_time,
    c.order_id,
    c.reason,
    c.currency,
    CASE WHEN c.event_name = 'order_refunded' THEN COALESCE(c.revenue, c.value, c.total) ELSE c.value END AS amount,
    {{ no_products }} AS without_products
  FROM commerce_events AS c
  WHERE c.event_name IN ('order_returned', 'order_refunded', 'order_cancelled') AND c.order_id IS NOT NULL
),
addressed AS (
  SELECT *
  FROM (
    SELECT
      source, event_id, order_id, revenue, currency,
      ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY ordered_at, event_name) AS place
    FROM counted_orders
  ) AS numbered
  WHERE place = 1
),
bought AS (
  SELECT source, event_id, product_id, SUM(revenue) AS revenue, SUM(quantity) AS pieces
  FROM order_lines
  GROUP BY source, event_id, product_id
),
named AS (
  -- What the products that an event names brought in the order.
  SELECT m.source, m.event_id, SUM(b.revenue * LEAST(m.pieces, b.pieces) / b.pieces) AS worth
  FROM (
    SELECT source, event_id, order_id, product_id, SUM(pieces) AS pieces
    FROM (
      SELECT
        c.source,
        c.event_id,
        c.order_id,
        {{ line product_id | string }} AS product_id,
        COALESCE({{ line quantity | double }}, 1.0) AS pieces
      FROM {{ each_product commerce_events | source, event_id, event_name, order_id }} AS c
      WHERE c.event_name IN ('order_returned', 'order_refunded')
    ) AS lines
    GROUP BY source, event_id, order_id, product_id
  ) AS m
  JOIN addressed AS a ON a.order_id = m.order_id
  JOIN bought AS b ON b.source = a.source AND b.event_id = a.event_id AND b.product_id = m.product_id AND b.pieces > 0
  GROUP BY m.source, m.event_id
),
worths AS (
  SELECT
    a.source,
    a.event_id,
    f.event_name,
    f.event_time,
    f.reason,
    CASE
      WHEN f.amount IS NOT NULL AND (f.currency IS NULL OR a.currency IS NULL OR f.currency = a.currency) THEN f.amount
      WHEN NOT f.without_products THEN COALESCE(n.worth, 0.0)
      WHEN f.amount IS NULL THEN a.revenue
      ELSE 0.0
    END AS worth
  FROM after AS f
  JOIN addressed AS a ON a.order_id = f.order_id
  LEFT JOIN named AS n ON n.source = f.source AND n.event_id = f.event_id
),
netted AS (
  SELECT
    source,
    event_id,
    SUM(CASE WHEN event_name = 'order_returned' THEN worth ELSE 0.0 END) AS returned,
    SUM(CASE WHEN event_name = 'order_refunded' THEN worth ELSE 0.0 END) AS refunded,
    MIN(CASE WHEN event_name = 'order_returned' THEN event_time END) AS returned_at,
    MIN(CASE WHEN event_name = 'order_cancelled' THEN event_time END) AS cancelled_at,
    MIN_BY(reason, CASE WHEN event_name = 'order_returned' AND reason IS NOT NULL THEN event_time END) AS return_reason
  FROM worths
  GROUP BY source, event_id
),
costs AS (
  SELECT
    source,
    event_id,
    CASE WHEN COUNT(cost) = COUNT(*) THEN SUM(cost * (quantity - returned_quantity)) END AS kept_cost
  FROM order_lines
  GROUP BY source, event_id
),
amounts AS (
  SELECT
    o.*,
    t.session_key,
    t.device,
    CASE WHEN n.returned > o.revenue THEN o.revenue ELSE COALESCE(n.returned, 0.0) END AS returned_value,
    CASE WHEN n.refunded > o.revenue THEN o.revenue ELSE COALESCE(n.refunded, 0.0) END AS refunded_value,
    n.returned_at,
    n.return_reason,
    n.cancelled_at,
    n.cancelled_at IS NOT NULL AS cancelled,
    c.kept_cost
  FROM counted_orders AS o
  JOIN (SELECT person_key, touchpoint_number, session_key, device FROM touchpoints WHERE order_id IS NOT NULL) AS t
    ON t.person_key = o.person_key AND t.touchpoint_number = o.touchpoint_number
  LEFT JOIN netted AS n ON n.source = o.source AND n.event_id = o.event_id
  LEFT JOIN costs AS c ON c.source = o.source AND c.event_id = o.event_id
),
net AS (
  SELECT
    amounts.*,
    CASE
      WHEN cancelled THEN 0.0
      WHEN returned_value > refunded_value THEN revenue - returned_value
      ELSE revenue - refunded_value
    END AS net_revenue
  FROM amounts
)
SELECT
  n.order_id,
  n.event_name,
  n.source,
  n.event_id,
  n.person_key,
  n.person_id,
  n.touchpoint_number,
  n.session_key,
  n.account_id,
  n.ordered_at,
  n.channel,
  n.marketing_channel,
  n.utm_campaign,
  n.device,
  n.revenue,
  n.currency,
  n.items,
  n.order_number,
  n.first_order,
  e.coupon,
  COALESCE(e.discount, e.coupon_discount) AS discount,
  e.total,
  e.payment_method,
  e.store_id,
  n.returned_value,
  n.refunded_value,
  n.returned_at,
  n.return_reason,
  n.cancelled,
  n.cancelled_at,
  n.net_revenue,
  CASE WHEN n.cancelled THEN 0.0 ELSE n.net_revenue - n.kept_cost END AS margin
FROM net AS n
JOIN commerce_events AS e ON e.source = n.source AND e.event_id = n.event_id
