-- cart_contents: every cart that was made, what came into it and what is left in it.
-- Grain: cart
-- Keys: cart_key
-- Inputs: commerce_events, counted_orders
-- Increment: person
-- Order: person_key, started_at, cart_key
-- Definition: the cart events of a person (product_added, wishlist_product_added_to_cart, product_removed, cart_viewed,
--   checkout_started) up to and with an order_completed event that counts for its order; the next cart begins after it. Between
--   two orders, events of different cart ids are different carts; an event without a cart id belongs to that of the same
--   checkout, else to the one the person used last, else to the first one known. The order ends the cart it belongs to by this
--   rule. A cart was made if something was added to it, its checkout was started, or it was seen with products. A cart that lies
--   idle and is taken up again is the same cart. items is what was added less what was removed, never below 0, product by
--   product in the order of time; a removal without quantity removes all of the product, an addition without one adds one piece.
--   Amounts use the price that the product was given last, if it is in the currency that the cart was given last, or says none. Without prices, value_left is the value last
--   seen of the whole cart, if it is in that currency or says none. value_left is null where no product that is left has a price.
WITH moves AS (
  SELECT
    c.*,
    o.order_id AS closing_order,
    COUNT(o.order_id) OVER (
      PARTITION BY c.person_key ORDER BY c.touchpoint_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS orders_before
  FROM commerce_events AS c
  LEFT JOIN (SELECT source, event_id, order_id FROM counted_orders WHERE event_name = 'order_completed') AS o
    ON o.source = c.source AND o.event_id = c.event_id
  WHERE c.person_key IS NOT NULL AND (c.event_name IN ({{ cart_event_names }}) OR o.order_id IS NOT NULL)
),
named AS (
  SELECT
    moves.*,
    COALESCE(
      cart_id,
      CASE WHEN checkout_id IS NOT NULL THEN MAX(cart_id) OVER (PARTITION BY person_key, orders_before, checkout_id) END
    ) AS own_cart_id
  FROM moves
),
placed AS (
  SELECT
    named.*,
    COALESCE(
      LAST_VALUE(own_cart_id IGNORE NULLS) OVER (
        PARTITION BY person_key, orders_before ORDER BY touchpoint_number
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      ),
      FIRST_VALUE(own_cart_id IGNORE NULLS) OVER (
        PARTITION BY person_key, orders_before ORDER BY touchpoint_number
        ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
      ),
      ''
    ) AS known_cart_id
  FROM named
),
facts AS (
  SELECT
    person_key,
    orders_before,
    known_cart_id,
    MIN(touchpoint_number) AS first_number,
    MIN_BY(session_key, touchpoint_number) AS session_key,
    MAX_BY(account_id, touchpoint_number) AS account_id,
    MIN_BY(channel, CASE WHEN channel IS NOT NULL THEN touchpoint_number END) AS channel,
    MIN_BY(marketing_channel, CASE WHEN marketing_channel IS NOT NULL THEN touchpoint_number END) AS marketing_channel,
    MIN_BY(device, CASE WHEN device IS NOT NULL THEN touchpoint_number END) AS device,
    MIN(event_time) AS started_at,
    MAX(CASE WHEN closing_order IS NULL THEN event_time END) AS last_at,
    MAX_BY(currency, CASE WHEN currency IS NOT NULL AND closing_order IS NULL THEN touchpoint_number END) AS currency,
    MAX_BY(value, CASE WHEN value IS NOT NULL AND closing_order IS NULL THEN touchpoint_number END) AS seen_value,
    MAX_BY(COALESCE(currency, ''), CASE WHEN value IS NOT NULL AND closing_order IS NULL THEN touchpoint_number END)
      AS seen_currency,
    MIN(CASE WHEN event_name = 'checkout_started' THEN event_time END) AS checkout_started_at,
    MAX(CASE WHEN closing_order IS NOT NULL THEN event_time END) AS ordered_at,
    MAX(closing_order) AS order_id
  FROM placed
  GROUP BY person_key, orders_before, known_cart_id
  HAVING COUNT(
    CASE
      WHEN event_name IN ({{ cart_adding_event_names }}, 'checkout_started') THEN 1
      WHEN event_name = 'cart_viewed' AND (value > 0 OR NOT {{ no_products }}) THEN 1
    END
  ) > 0
),
changes AS (
  SELECT
    person_key,
    orders_before,
    known_cart_id,
    product_id,
    touchpoint_number,
    price,
    COALESCE(currency, '') AS currency,
    CASE WHEN event_name <> 'product_removed' THEN COALESCE(quantity, 1.0) ELSE 0.0 END AS added,
    -- More than any cart holds: the running sum below never falls under 0, so all of the product goes.
    CASE WHEN event_name <> 'product_removed' THEN COALESCE(quantity, 1.0) ELSE -COALESCE(quantity, 1000000000.0) END AS change
  FROM placed
  WHERE event_name IN ({{ cart_adding_event_names }}, 'product_removed') AND product_id IS NOT NULL
),
running AS (
  SELECT
    changes.*,
    SUM(change) OVER (
      PARTITION BY person_key, orders_before, known_cart_id, product_id ORDER BY touchpoint_number
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS so_far
  FROM changes
),
by_product AS (
  SELECT
    person_key,
    orders_before,
    known_cart_id,
    product_id,
    SUM(added) AS added,
    -- Of parts of pieces a sum of doubles is not exact, least of all beside what takes everything.
    ROUND(SUM(change) - LEAST(0.0, MIN(so_far)), 6) AS remaining,
    MAX_BY(price, CASE WHEN price IS NOT NULL THEN touchpoint_number END) AS price,
    MAX_BY(currency, CASE WHEN price IS NOT NULL THEN touchpoint_number END) AS price_currency
  FROM running
  GROUP BY person_key, orders_before, known_cart_id, product_id
),
priced AS (
  SELECT b.*, CASE WHEN b.price_currency IN ('', COALESCE(f.currency, '')) THEN b.price END AS own_price
  FROM by_product AS b
  JOIN facts AS f
    ON f.person_key = b.person_key AND f.orders_before = b.orders_before AND f.known_cart_id = b.known_cart_id
),
contents AS (
  SELECT
    person_key,
    orders_before,
    known_cart_id,
    SUM(added) AS added,
    SUM(remaining) AS items,
    -- What is known of the price of products that are not in it says nothing of those that are.
    CASE WHEN SUM(added) > 0 THEN SUM(CASE WHEN added > 0 THEN own_price * added END) ELSE SUM(own_price * added) END
      AS value_added,
    CASE
      WHEN SUM(remaining) > 0 THEN SUM(CASE WHEN remaining > 0 THEN own_price * remaining END)
      ELSE SUM(own_price * remaining)
    END AS value_left,
    COUNT(own_price) AS prices
  FROM priced
  GROUP BY person_key, orders_before, known_cart_id
),
remaining_products AS (
  SELECT person_key, orders_before, known_cart_id, {{ sorted_list product_id }} AS product_ids
  FROM by_product
  WHERE remaining > 0
  GROUP BY person_key, orders_before, known_cart_id
)
SELECT
  f.person_key * 16777216 + f.first_number AS cart_key,
  NULLIF(f.known_cart_id, '') AS cart_id,
  f.person_key,
  f.session_key,
  f.account_id,
  f.channel,
  f.marketing_channel,
  f.device,
  f.started_at,
  f.last_at,
  c.value_added,
  CASE
    WHEN c.prices > 0 THEN c.value_left
    WHEN f.seen_currency IN ('', COALESCE(f.currency, '')) THEN f.seen_value
  END AS value_left,
  f.currency,
  c.added AS items_added,
  c.items,
  r.product_ids,
  f.checkout_started_at,
  f.ordered_at,
  f.order_id
FROM facts AS f
LEFT JOIN contents AS c
  ON c.person_key = f.person_key AND c.orders_before = f.orders_before AND c.known_cart_id = f.known_cart_id
LEFT JOIN remaining_products AS r
  ON r.person_key = f.person_key AND r.orders_before = f.orders_before AND r.known_cart_id = f.known_cart_id
