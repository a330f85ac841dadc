-- campaigns: one row per campaign: how far it reached and what it brought.
-- Grain: campaign
-- Keys: campaign
-- Inputs: campaign_steps
-- Increment: whole
-- Order: campaign
-- Definition: sent, opened, clicked: people; visits, carts: sessions; orders: orders made in its visits. currency is the one
--   most of them are in (ties: the first by name); net_revenue and margin are of the orders in it, the others are counted in
--   orders_in_other_currencies. What was spent is not in the table: it may be loaded after a build.
WITH amounts AS (
  SELECT
    campaign, currency, COUNT(*) AS orders, SUM(net_revenue) AS net_revenue,
    CASE WHEN COUNT(margin) = COUNT(*) THEN SUM(margin) END AS margin,
    ROW_NUMBER() OVER (PARTITION BY campaign ORDER BY COUNT(*) DESC, currency) AS place
  FROM campaign_steps
  WHERE step = 'order'
  GROUP BY campaign, currency
)
SELECT
  s.campaign,
  MIN(s.happened_at) AS first_at,
  MAX(s.happened_at) AS last_at,
  COUNT(DISTINCT CASE WHEN s.step = 'sent' THEN s.person_key END) AS sent,
  COUNT(DISTINCT CASE WHEN s.step = 'opened' THEN s.person_key END) AS opened,
  COUNT(DISTINCT CASE WHEN s.step = 'clicked' THEN s.person_key END) AS clicked,
  COUNT(CASE WHEN s.step = 'visit' THEN 1 END) AS visits,
  COUNT(CASE WHEN s.step = 'cart' THEN 1 END) AS carts,
  COUNT(CASE WHEN s.step = 'order' THEN 1 END) AS orders,
  COUNT(CASE WHEN s.step = 'order' THEN 1 END) - COALESCE(MIN(a.orders), 0) AS orders_in_other_currencies,
  COALESCE(MIN(a.net_revenue), 0.0) AS net_revenue,
  MIN(a.margin) AS margin,
  MIN(a.currency) AS currency
FROM campaign_steps AS s
LEFT JOIN amounts AS a ON a.campaign = s.campaign AND a.place = 1
GROUP BY s.campaign
