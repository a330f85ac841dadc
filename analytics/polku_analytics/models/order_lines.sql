-- order_lines: the products of each order, one row a line: what it brought, what came back, what it cost.
-- Grain: line of an order
-- Keys: event_name, order_id, line_number
-- Inputs: counted_orders, commerce_events, products
-- Increment: person
-- Order: ordered_at, order_id, line_number
-- Definition: the products of the event that counts for the order, in its order. quantity is 1 where a line has none. revenue is
--   the line's own; where no line of the order has one and all have a price, it is price times quantity, made smaller or
--   larger in one proportion so that the lines give the order's revenue; else price times quantity. returned_quantity are the
--   pieces of the product that order_returned events of the order name (1 where a line has no quantity; all of the order where
--   neither products nor a value is named), taken from its lines in their order. cost is that of one piece in `products`, where
--   it is in the order's currency; margin is what is kept of the revenue less the cost of the pieces kept; 0 if cancelled.
WITH lines AS (
  SELECT
    c.source,
    c.event_id,
    c.line_number,
    {{ line product_id | string }} AS product_id,
    {{ line name | string }} AS name,
    {{ line category | string }} AS category,
    {{ line brand | string }} AS brand,
    {{ line price | double }} AS price,
    COALESCE({{ line quantity | double }}, 1.0) AS quantity,
    {{ line revenue | double }} AS own_revenue
  FROM {{ each_product commerce_events | source, event_id, event_name }} AS c
  WHERE c.event_name IN ({{ order_event_names }})
),
priced AS (
  SELECT
    o.order_id,
    o.event_name,
    o.source,
    o.event_id,
    o.person_key,
    e.session_key,
    o.account_id,
    o.ordered_at,
    o.channel,
    o.revenue AS order_revenue,
    COALESCE(o.currency, e.currency) AS currency,
    l.line_number,
    l.product_id,
    l.name,
    l.category,
    l.brand,
    l.price,
    l.quantity,
    l.own_revenue,
    l.price * l.quantity AS gross,
    COUNT(l.own_revenue) OVER of_order AS told,
    COUNT(l.price) OVER of_order = COUNT(*) OVER of_order AS all_priced,
    SUM(l.price * l.quantity) OVER of_order AS order_gross
  FROM counted_orders AS o
  JOIN lines AS l ON l.source = o.source AND l.event_id = o.event_id
  JOIN (SELECT source, event_id, session_key, currency FROM commerce_events WHERE event_name IN ({{ order_event_names }})) AS e
    ON e.source = o.source AND e.event_id = o.event_id
  WINDOW of_order AS (PARTITION BY o.source, o.event_id)
),
addressed AS (
  -- Of two orders with one id, on the web and in a store, a return is about the earlier one.
  SELECT source, event_id, order_id
  FROM (
    SELECT source, event_id, order_id, ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY ordered_at, event_name) AS place
    FROM counted_orders
  ) AS numbered
  WHERE place = 1
),
returned_products AS (
  SELECT order_id, product_id, SUM(pieces) AS pieces
  FROM (
    SELECT
      c.order_id,
      {{ line product_id | string }} AS product_id,
      COALESCE({{ line quantity | double }}, 1.0) AS pieces
    FROM {{ each_product commerce_events | order_id, event_name }} AS c
    WHERE c.event_name = 'order_returned' AND c.order_id IS NOT NULL
  ) AS returned
  GROUP BY order_id, product_id
),
order_facts AS (
  SELECT
    order_id,
    MAX(CASE WHEN event_name = 'order_returned' AND value IS NULL AND {{ no_products }} THEN 1 ELSE 0 END) = 1 AS all_returned,
    MAX(CASE WHEN event_name = 'order_cancelled' THEN 1 ELSE 0 END) = 1 AS cancelled
  FROM commerce_events
  WHERE event_name IN ('order_returned', 'order_cancelled') AND order_id IS NOT NULL
  GROUP BY order_id
),
counted AS (
  SELECT
    p.*,
    CASE
      WHEN p.told = 0 AND p.all_priced AND p.order_revenue IS NOT NULL AND p.order_gross > 0
        THEN p.gross * p.order_revenue / p.order_gross
      ELSE COALESCE(p.own_revenue, p.gross)
    END AS revenue,
    CASE
      WHEN a.order_id IS NULL THEN 0.0
      WHEN COALESCE(f.all_returned, FALSE) THEN p.quantity
      ELSE LEAST(
        p.quantity,
        GREATEST(
          0.0,
          COALESCE(r.pieces, 0.0) - (SUM(p.quantity) OVER (
            PARTITION BY p.source, p.event_id, p.product_id ORDER BY p.line_number
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
          ) - p.quantity)
        )
      )
    END AS returned_quantity,
    a.order_id IS NOT NULL AND COALESCE(f.cancelled, FALSE) AS cancelled
  FROM priced AS p
  LEFT JOIN addressed AS a ON a.source = p.source AND a.event_id = p.event_id
  LEFT JOIN returned_products AS r ON r.order_id = a.order_id AND r.product_id = p.product_id
  LEFT JOIN order_facts AS f ON f.order_id = a.order_id
),
costed AS (
  SELECT
    c.*,
    CASE
      WHEN g.currency IS NULL OR c.currency IS NULL OR g.currency = c.currency THEN g.cost
    END AS cost,
    g.name AS known_name,
    g.category AS known_category,
    g.brand AS known_brand,
    CASE WHEN c.returned_quantity > 0 THEN c.revenue * c.returned_quantity / c.quantity ELSE 0.0 END AS returned_value
  FROM counted AS c
  LEFT JOIN products AS g ON g.product_id = c.product_id
)
SELECT
  order_id,
  event_name,
  line_number,
  person_key,
  session_key,
  account_id,
  ordered_at,
  channel,
  product_id,
  COALESCE(name, known_name) AS name,
  COALESCE(category, known_category) AS category,
  COALESCE(brand, known_brand) AS brand,
  price,
  quantity,
  revenue,
  currency,
  returned_quantity,
  returned_value,
  cancelled,
  cost,
  CASE
    WHEN cost IS NULL OR revenue IS NULL THEN NULL
    WHEN cancelled THEN 0.0
    ELSE revenue - returned_value - cost * (quantity - returned_quantity)
  END AS margin,
  source,
  event_id
FROM costed
