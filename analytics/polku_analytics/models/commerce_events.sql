-- commerce_events: the events of carts, checkouts, orders, searches, deliveries and subscriptions with their properties.
-- Grain: event
-- Keys: source, event_id
-- Inputs: unique_events, event_order
-- Increment: person
-- Stored: no
-- Definition: what the models of commerce read of an event, beside the session and the account it belongs to. An event that
--   belongs to no person (what a warehouse says of an order) has no person_key; it counts by its order id.
SELECT
  t.person_key,
  t.touchpoint_number,
  t.session_key,
  t.account_id,
  {{ channel }} AS channel,
  e.marketing_channel,
  e.device,
  e.event_time,
  e.event_id,
  e.source,
  e.event_name,
  {{ property order_id | string }} AS order_id,
  {{ property cart_id | string }} AS cart_id,
  {{ property checkout_id | string }} AS checkout_id,
  {{ property product_id | string }} AS product_id,
  {{ property price | double }} AS price,
  {{ property quantity | double }} AS quantity,
  {{ property value | double }} AS value,
  {{ property revenue | double }} AS revenue,
  {{ property total | double }} AS total,
  {{ property discount | double }} AS discount,
  {{ property coupon_discount | double }} AS coupon_discount,
  {{ property coupon | string }} AS coupon,
  {{ property currency | string }} AS currency,
  {{ property payment_method | string }} AS payment_method,
  {{ property store_id | string }} AS store_id,
  {{ property reason | string }} AS reason,
  {{ property step | long }} AS step,
  {{ property step_name | string }} AS step_name,
  {{ property query | string }} AS query,
  {{ property search_id | string }} AS search_id,
  {{ property results_count | long }} AS results_count,
  {{ property position | long }} AS position,
  {{ property lowest_position | long }} AS lowest_position,
  {{ property shipment_id | string }} AS shipment_id,
  {{ property carrier | string }} AS carrier,
  {{ property promised_at | timestamp }} AS promised_at,
  {{ property delivered_at | timestamp }} AS delivered_at,
  {{ property subscription_id | string }} AS subscription_id,
  {{ property ad_id | string }} AS ad_id,
  {{ property ad_revenue | double }} AS ad_revenue,
  {{ products }} AS products
FROM unique_events AS e
LEFT JOIN event_order AS t ON {{ same_event e | t }}
WHERE e.event_type NOT IN ('identify', 'group', 'alias')
  AND (
    e.event_name IN ({{ commerce_event_names }})
    OR (e.event_name IN ({{ ad_event_names }}) AND {{ property ad_revenue | double }} IS NOT NULL)
  )
