-- carts: every cart that was made and what became of it.
-- Grain: cart
-- Keys: cart_key
-- Inputs: cart_contents, persons
-- Increment: whole
-- Order: person_key, started_at, cart_key
-- Definition: cart_contents with its outcome. ordered: an order ended it. emptied: products were added and all of them removed
--   again. abandoned: neither, and nothing happened in it for {{ cart_idle_hours }} hours or more before the newest event of all.
--   open: neither, and it is younger than that. idle_hours is the time from its last event to the newest event of all; none
--   for an ordered one.
SELECT
  c.cart_key,
  c.cart_id,
  c.person_key,
  c.session_key,
  c.account_id,
  c.channel,
  c.marketing_channel,
  c.device,
  c.started_at,
  c.last_at,
  c.value_added,
  c.value_left,
  c.currency,
  c.items_added,
  c.items,
  c.product_ids,
  c.checkout_started_at,
  c.ordered_at,
  c.order_id,
  CASE
    WHEN c.order_id IS NOT NULL THEN 'ordered'
    WHEN c.items_added > 0 AND c.items = 0 THEN 'emptied'
    WHEN {{ seconds_between c.last_at | n.newest }} >= {{ cart_idle_hours }} * 3600 THEN 'abandoned'
    ELSE 'open'
  END AS outcome,
  CASE WHEN c.order_id IS NULL THEN CAST({{ seconds_between c.last_at | n.newest }} AS DOUBLE) / 3600.0 END AS idle_hours
FROM cart_contents AS c
CROSS JOIN (SELECT MAX(last_seen) AS newest FROM persons) AS n
