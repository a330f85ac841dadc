-- orders: what people bought, once per order however often it was reported, and what is left of it.
-- Grain: order
-- Keys: event_name, order_id
-- Inputs: counted_orders, touchpoints, commerce_events, order_lines
-- Increment: person
-- Order: ordered_at, order_id
-- Definition: one row for each row of counted_orders ({{ order_events }}). returned_value and refunded_value are the sums of what
--   the order's order_returned and order_refunded events give as value (a refund: revenue, value or total, the first it has);
--   an event without an amount in the order's currency is worth what its products brought in the order, one with neither
--   amount nor products the whole order. Neither is more than the revenue, and
--   each is null where what one of its events is worth is not known: an amount in another currency, products whose revenue is not known, an
--   order without revenue. net_revenue is the revenue less the larger of the two (a refund mostly
--   pays for what came back), or the one that is known, 0 if the order was cancelled. margin is the net revenue less the cost of the pieces that were
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
  SELECT
    m.source,
    m.event_id,
    CASE WHEN COUNT(b.revenue) = COUNT(*) THEN SUM(b.revenue * LEAST(m.pieces, b.pieces) / b.pieces) END AS worth
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
    f.event_id AS told_by,
    f.source AS told_from,
    f.reason,
    CASE
      WHEN f.amount IS NOT NULL AND (f.currency IS NULL OR a.currency IS NULL OR f.currency = a.currency) THEN f.amount
      WHEN NOT f.without_products THEN CASE WHEN n.event_id IS NULL THEN 0.0 ELSE n.worth END
      WHEN f.amount IS NULL THEN a.revenue
    END AS worth
  FROM after AS f
  JOIN addressed AS a ON a.order_id = f.order_id
  LEFT JOIN named AS n ON n.source = f.source AND n.event_id = f.event_id
),
netted AS (
  SELECT
    source,
    event_id,
    CASE
      WHEN COUNT(CASE WHEN event_name = 'order_returned' AND worth IS NULL THEN 1 END) = 0
        THEN SUM(CASE WHEN event_name = 'order_returned' THEN worth ELSE 0.0 END)
    END AS returned,
    CASE
      WHEN COUNT(CASE WHEN event_name = 'order_refunded' AND worth IS NULL THEN 1 END) = 0
        THEN SUM(CASE WHEN event_name = 'order_refunded' THEN worth ELSE 0.0 END)
    END AS refunded,
    MIN(CASE WHEN event_name = 'order_returned' THEN event_time END) AS returned_at,
    MIN(CASE WHEN event_name = 'order_cancelled' THEN event_time END) AS cancelled_at,
    MIN(CASE WHEN reason_place = 1 AND event_name = 'order_returned' THEN reason END) AS return_reason
  FROM (
    SELECT
      worths.*,
      ROW_NUMBER() OVER (
        PARTITION BY source, event_id, event_name
        ORDER BY CASE WHEN reason IS NULL THEN 1 ELSE 0 END, event_time, told_by, told_from
      ) AS reason_place
    FROM worths
  ) AS placed
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
    CASE WHEN n.source IS NULL THEN 0.0 WHEN n.returned > o.revenue THEN o.revenue ELSE n.returned END AS returned_value,
    CASE WHEN n.source IS NULL THEN 0.0 WHEN n.refunded > o.revenue THEN o.revenue ELSE n.refunded END AS refunded_value,
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
      WHEN returned_value IS NULL AND COALESCE(refunded_value, 0.0) = 0.0 THEN NULL
      WHEN refunded_value IS NULL AND returned_value = 0.0 THEN NULL
      ELSE revenue - GREATEST(COALESCE(returned_value, 0.0), COALESCE(refunded_value, 0.0))
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
