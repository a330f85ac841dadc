-- daily_metrics: the day in figures, by channel.
-- Grain: day (UTC) and channel
-- Keys: day, channel
-- Inputs: daily_visits, orders
-- Increment: whole
-- Order: day, channel
-- Definition: people and sessions with a touchpoint of the channel on that day (so they do not add up over channels or
--   days), touchpoints, orders made there, and their net_revenue in the currency that most orders of the lake are in.
--   valued_orders: those it is of, in that currency and with a value that is known. Where orders are in that currency and none
--   says its value, net_revenue is null; without such orders it is 0.
WITH usual AS (
  SELECT currency
  FROM (
    SELECT currency, ROW_NUMBER() OVER (ORDER BY {{ usual_currency_first }}) AS place FROM orders GROUP BY currency
  ) AS counted
  WHERE place = 1
),
sold AS (
  SELECT
    CAST(ordered_at AS DATE) AS day,
    channel,
    COUNT(*) AS orders,
    COUNT(CASE WHEN COALESCE(o.currency, '') = COALESCE(u.currency, '') THEN 1 END) AS usual_orders,
    SUM(CASE WHEN COALESCE(o.currency, '') = COALESCE(u.currency, '') THEN o.net_revenue END) AS net_revenue,
    COUNT(CASE WHEN COALESCE(o.currency, '') = COALESCE(u.currency, '') THEN o.net_revenue END) AS valued_orders,
    MIN(u.currency) AS currency
  FROM orders AS o
  CROSS JOIN usual AS u
  GROUP BY CAST(ordered_at AS DATE), channel
)
SELECT
  m.day,
  m.channel,
  m.people,
  m.sessions,
  m.touchpoints,
  COALESCE(s.orders, 0) AS orders,
  COALESCE(s.valued_orders, 0) AS valued_orders,
  CASE WHEN s.usual_orders > 0 THEN s.net_revenue ELSE 0.0 END AS net_revenue,
  s.currency
FROM daily_visits AS m
LEFT JOIN sold AS s ON s.day = m.day AND COALESCE(s.channel, '') = COALESCE(m.channel, '')
