'use strict';
// Reads [{tokens, pools: [[a, b, reserve, reserve]], given, taken, amount, selected, repeats}] from stdin and routes
// each over Uniswap v2 pairs: candidates, routes, quotes of every five percent and the best split, as its router does.
const LIBRARY = '@uniswap/smart-order-router/build/main/';
const { V2QuoteProvider } = require(`${LIBRARY}providers/v2/quote-provider.js`);
const { USDC_MAINNET } = require(`${LIBRARY}providers/token-provider.js`);
const { PortionProvider } = require(`${LIBRARY}providers/portion-provider.js`);
const { DEFAULT_ROUTING_CONFIG_BY_CHAIN } = require(`${LIBRARY}routers/alpha-router/config.js`);
const { computeAllV2Routes } = require(`${LIBRARY}routers/alpha-router/functions/compute-all-routes.js`);
const { getV2CandidatePools } = require(`${LIBRARY}routers/alpha-router/functions/get-candidate-pools.js`);
const { getBestSwapRoute } = require(`${LIBRARY}routers/alpha-router/functions/best-swap-route.js`);
const { V2RouteWithValidQuote } = require(`${LIBRARY}routers/alpha-router/entities/route-with-valid-quote.js`);
const { CurrencyAmount } = require(`${LIBRARY}util/amounts.js`);
const { Token, TradeType } = require('@uniswap/sdk-core');
const { Pair, Trade } = require('@uniswap/v2-sdk');
const { BigNumber, utils } = require('ethers');
const { answer, timed } = require('./answering');

const MAINNET = 1;
const MOST_ROUTES = 1500;
const PERCENTS = Array.from({ length: 20 }, (_, k) => 5 * (k + 1));
const CONFIG = { ...DEFAULT_ROUTING_CONFIG_BY_CHAIN(MAINNET), minSplits: 1, maxSplits: 7 };
const portion = new PortionProvider();
const quotes = new V2QuoteProvider();

function tokenAt(k) {
  const address = utils.getAddress(`0x${(k + 0x1000000).toString(16).padStart(40, '0')}`);
  return new Token(MAINNET, address, 18, `T${k}`, `T${k}`);
}

class StaticPairs {
  constructor(tokens, rows) {
    this.byAddress = new Map();
    this.tokens = new Map(tokens.map((token) => [token.address.toLowerCase(), token]));
    this.pairs = rows.map(([a, b, x, y]) => {
      const pair = new Pair(
        CurrencyAmount.fromRawAmount(tokens[a], x),
        CurrencyAmount.fromRawAmount(tokens[b], y)
      );
      this.byAddress.set(this.getPoolAddress(pair.token0, pair.token1).poolAddress, pair);
      return pair;
    });
    this.rows = rows.map(([a, b, , , size], k) => ({
      id: this.getPoolAddress(this.pairs[k].token0, this.pairs[k].token1).poolAddress.toLowerCase(),
      token0: { id: this.pairs[k].token0.address.toLowerCase() },
      token1: { id: this.pairs[k].token1.address.toLowerCase() },
      supply: size,
      reserve: size,
      reserveUSD: size,
    }));
  }

  getPoolAddress(a, b) {
    const [token0, token1] = a.sortsBefore(b) ? [a, b] : [b, a];
    return { poolAddress: Pair.getAddress(token0, token1), token0, token1 };
  }

  getPool(a, b) {
    return this.byAddress.get(this.getPoolAddress(a, b).poolAddress);
  }

  async getPools(pairs) {
    const held = pairs.map(([a, b]) => this.getPool(a, b)).filter(Boolean);
    return { getPool: this.getPool.bind(this), getPoolByAddress: () => undefined, getAllPools: () => held };
  }

  async getTokens(addresses) {
    const find = (address) => this.tokens.get(address.toLowerCase());
    return {
      getTokenByAddress: find,
      getTokenBySymbol: () => undefined,
      getAllTokens: () => addresses.map(find).filter(Boolean),
    };
  }
}

async function candidates(pools, given, taken) {
  const chosen = await getV2CandidatePools({
    tokenIn: given,
    tokenOut: taken,
    routeType: TradeType.EXACT_INPUT,
    routingConfig: CONFIG,
    subgraphProvider: { getPools: async () => pools.rows.map((row) => ({ ...row })) },
    tokenProvider: pools,
    poolProvider: pools,
    chainId: MAINNET,
  });
  return chosen.poolAccessor.getAllPools();
}

async function best(pools, given, taken, amount, selected) {
  let routes;
  if (selected) {
    routes = computeAllV2Routes(given, taken, await candidates(pools, given, taken), CONFIG.maxSwapsPerPath);
  } else {
    routes = computeAllV2Routes(given, taken, pools.pairs, 2);
    if (pools.pairs.length <= 120) {
      const longer = computeAllV2Routes(given, taken, pools.pairs, 3);
      if (longer.length <= MOST_ROUTES) routes = longer;
    }
  }
  if (!routes.length || routes.length > MOST_ROUTES) return null;
  const free = CurrencyAmount.fromRawAmount(taken, 0);
  const gasModel = {
    estimateGasCost: () => ({
      gasEstimate: BigNumber.from(0),
      gasCostInToken: free,
      gasCostInUSD: CurrencyAmount.fromRawAmount(USDC_MAINNET, 0),
    }),
  };
  const amounts = PERCENTS.map((percent) => amount.multiply(percent).divide(100));
  const { routesWithQuotes } = await quotes.getQuotesManyExactIn(amounts, routes, {});
  const valid = [];
  for (const [route, quoted] of routesWithQuotes) {
    quoted.forEach((quote, k) => {
      if (!quote.quote) return;
      valid.push(
        new V2RouteWithValidQuote({
          amount: quote.amount,
          rawQuote: quote.quote,
          percent: PERCENTS[k],
          route,
          gasModel,
          quoteToken: taken,
          tradeType: TradeType.EXACT_INPUT,
          v2PoolProvider: pools,
        })
      );
    });
  }
  const found = await getBestSwapRoute(
    amount, PERCENTS, valid, TradeType.EXACT_INPUT, MAINNET, CONFIG, portion, gasModel
  );
  return found && { found, routes: routes.length };
}

function index(token) {
  return Number(BigInt(token.address)) - 0x1000000;
}

async function route(instance) {
  const tokens = Array.from({ length: instance.tokens }, (_, k) => tokenAt(k));
  const pools = new StaticPairs(tokens, instance.pools);
  const [given, taken] = [tokens[instance.given], tokens[instance.taken]];
  const amount = CurrencyAmount.fromRawAmount(given, instance.amount);
  if (instance.single) {
    const [trades, ms] = await timed(instance.repeats, async () =>
      Trade.bestTradeExactIn(pools.pairs, amount, taken, { maxHops: 3, maxNumResults: 1 })
    );
    if (!trades.length) return { ms, output: '0', splits: [] };
    const path = trades[0].route.path.map(index);
    return { ms, output: trades[0].outputAmount.quotient.toString(), splits: [{ amount: instance.amount, path }] };
  }
  const [result, ms] = await timed(instance.repeats, () => best(pools, given, taken, amount, instance.selected));
  if (!result) return { ms, output: '0', splits: [] };
  const splits = result.found.routes.map((each) => ({
    amount: each.amount.quotient.toString(),
    path: each.route.path.map(index),
  }));
  return { ms, output: result.found.quote.quotient.toString(), splits, routes: result.routes };
}

answer(route);
