-- campaigns: one row per campaign: how far it reached, what it brought and what it cost.
-- Grain: campaign
-- Keys: campaign
-- Inputs: campaign_steps, spend
-- Increment: whole
-- Order: campaign
-- Definition: sent, opened, clicked: people; visits, carts: sessions; orders: orders made in its visits. currency is the one
--   most of them are in (ties: the first by name), and without orders that of most rows of spend (ties likewise): amounts of
--   different currencies are not compared. net_revenue and margin are of the orders in it, the others are counted in orders_in_other_currencies. net_revenue is null
--   where none of them says its value, and 0 without orders. spend: what the table spend had for the
--   campaign in that currency when the tables were built, none where it had nothing; return_on_spend: net_revenue ÷ spend.
--   A campaign that was paid for and reached nobody is there too.
WITH amounts AS (
  SELECT
    campaign, currency, COUNT(*) AS orders, SUM(net_revenue) AS net_revenue,
    CASE WHEN COUNT(margin) = COUNT(*) THEN SUM(margin) END AS margin,
    ROW_NUMBER() OVER (PARTITION BY campaign ORDER BY {{ usual_currency_first }}) AS place
  FROM campaign_steps
  WHERE step = 'order'
  GROUP BY campaign, currency
),
spent AS (
  SELECT
    utm_campaign AS campaign, currency, SUM(amount) AS amount,
    ROW_NUMBER() OVER (PARTITION BY utm_campaign ORDER BY {{ usual_currency_first }}) AS place
  FROM spend
  WHERE utm_campaign IS NOT NULL AND amount IS NOT NULL
  GROUP BY utm_campaign, currency
),
reached AS (
  SELECT
    campaign,
    MIN(happened_at) AS first_at,
    MAX(happened_at) AS last_at,
    COUNT(DISTINCT CASE WHEN step = 'sent' THEN person_key END) AS sent,
    COUNT(DISTINCT CASE WHEN step = 'opened' THEN person_key END) AS opened,
    COUNT(DISTINCT CASE WHEN step = 'clicked' THEN person_key END) AS clicked,
    COUNT(CASE WHEN step = 'visit' THEN 1 END) AS visits,
    COUNT(CASE WHEN step = 'cart' THEN 1 END) AS carts,
    COUNT(CASE WHEN step = 'order' THEN 1 END) AS orders
  FROM campaign_steps
  GROUP BY campaign
),
named AS (
  SELECT campaign FROM reached
  UNION
  SELECT campaign FROM spent
),
earned AS (
  SELECT
    n.campaign, a.orders, a.margin,
    CASE WHEN a.orders > 0 THEN a.net_revenue ELSE 0.0 END AS net_revenue,
    CASE WHEN a.campaign IS NULL THEN f.currency ELSE a.currency END AS currency
  FROM named AS n
  LEFT JOIN amounts AS a ON a.campaign = n.campaign AND a.place = 1
  LEFT JOIN spent AS f ON f.campaign = n.campaign AND f.place = 1
)
SELECT
  e.campaign,
  r.first_at,
  r.last_at,
  COALESCE(r.sent, 0) AS sent,
  COALESCE(r.opened, 0) AS opened,
  COALESCE(r.clicked, 0) AS clicked,
  COALESCE(r.visits, 0) AS visits,
  COALESCE(r.carts, 0) AS carts,
  COALESCE(r.orders, 0) AS orders,
  COALESCE(r.orders, 0) - COALESCE(e.orders, 0) AS orders_in_other_currencies,
  e.net_revenue,
  e.margin,
  e.currency,
  s.amount AS spend,
  CASE WHEN s.amount > 0 THEN e.net_revenue / s.amount END AS return_on_spend
FROM earned AS e
LEFT JOIN reached AS r ON r.campaign = e.campaign
LEFT JOIN spent AS s
  ON s.campaign = e.campaign AND (s.currency = e.currency OR (s.currency IS NULL AND e.currency IS NULL))
