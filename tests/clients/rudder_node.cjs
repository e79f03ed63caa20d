// What somebody writes who uses `@rudderstack/rudder-sdk-node`; only the data plane's address is ours.
const RudderAnalytics = require("@rudderstack/rudder-sdk-node");

const [url, key, userId, hourAgo] = process.argv.slice(2);
const client = new RudderAnalytics(key, { dataPlaneUrl: url, flushInterval: 200 });
const anonymousId = `anonymous ${userId}`;
const viewed = (messageId, properties, more = {}) =>
  client.track({ userId, event: "Product Viewed", properties, messageId, ...more });

client.identify({ userId, traits: { email: "ada@example.com", plan: "gold" }, messageId: "identify" });
viewed("then", { product_id: "p1", price: "10.5" }, { timestamp: new Date(Number(hourAgo)) });
viewed("now", { product_id: "p2", colour: "red" });
client.track({ anonymousId, event: "Product Viewed", properties: { product_id: 3 }, messageId: "visitor" });
viewed("unfit", { price: 1 });
client.page({ userId, anonymousId, name: "Home", category: "Shop", messageId: "page" });
client.group({ userId, groupId: "g1", traits: { name: "a company" }, messageId: "group" });
client.alias({ userId, previousId: `before ${userId}`, messageId: "alias" });
client.flush(() => {});
