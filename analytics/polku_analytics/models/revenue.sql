-- revenue: what was earned, order by order, subscription payment by payment, advertisement by advertisement.
-- Grain: earning
-- Keys: kind, source, event_id
-- Inputs: orders, commerce_events
-- Increment: person
-- Order: person_key, kind, reference, event_id
-- Definition: kind order: the net revenue of each order at the time it was made (gross_amount before returns). kind
--   subscription: the value of each subscription_started and subscription_renewed event; one that names an order which counts is
--   in that order already. kind ad: ad_revenue of ad_viewed and ad_clicked events, for those who show others' advertisements.
SELECT
  person_key,
  session_key,
  account_id,
  ordered_at AS earned_at,
  'order' AS kind,
  net_revenue AS amount,
  revenue AS gross_amount,
  currency,
  order_id AS reference,
  channel,
  source,
  event_id
FROM orders
WHERE revenue IS NOT NULL
UNION ALL
SELECT
  c.person_key,
  c.session_key,
  c.account_id,
  c.event_time,
  'subscription',
  c.value,
  c.value,
  c.currency,
  c.subscription_id,
  c.channel,
  c.source,
  c.event_id
FROM commerce_events AS c
LEFT JOIN (SELECT DISTINCT order_id FROM orders WHERE revenue IS NOT NULL) AS o ON o.order_id = c.order_id
WHERE c.event_name IN ('subscription_started', 'subscription_renewed')
  AND c.person_key IS NOT NULL AND c.value IS NOT NULL AND o.order_id IS NULL
UNION ALL
SELECT
  person_key,
  session_key,
  account_id,
  event_time,
  'ad',
  ad_revenue,
  ad_revenue,
  currency,
  ad_id,
  channel,
  source,
  event_id
FROM commerce_events
WHERE event_name IN ({{ ad_event_names }}) AND ad_revenue IS NOT NULL AND person_key IS NOT NULL
