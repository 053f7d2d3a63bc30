'use strict';
// Reads [{pools, connecting, given, taken, amount, maxPools, repeats}] from stdin and routes each with Balancer's SOR.
const { SOR, SwapTypes } = require('@balancer-labs/sor');
const { BigNumber } = require('ethers');
const { answer, timed } = require('./answering');

const ZERO = BigNumber.from(0);

function stated(pool) {
  const address = pool.id.slice(0, 42);
  return {
    id: pool.id,
    address,
    poolType: 'Weighted',
    swapFee: pool.fee,
    swapEnabled: true,
    totalShares: '1000000',
    totalWeight: '1',
    tokensList: pool.tokens.map((token) => token.address),
    tokens: pool.tokens.map((token) => ({ ...token, decimals: 18, priceRate: '1' })),
  };
}

async function route(instance) {
  const config = {
    chainId: 99999,
    vault: `0x${'b'.repeat(40)}`,
    weth: `0x${'e'.repeat(40)}`,
    connectingTokens: instance.connecting.map((address) => ({ symbol: 'T', address })),
  };
  const pools = instance.pools.map(stated);
  const sor = new SOR({}, config, { getPools: async () => pools }, { getNativeAssetPriceInToken: async () => '0' });
  await sor.fetchPools();
  // Refreshed: paths are found for this order, not taken from an earlier one for the same pair.
  const options = { gasPrice: ZERO, swapGas: ZERO, maxPools: instance.maxPools, forceRefresh: true };
  const amount = BigNumber.from(instance.amount);
  const [found, ms] = await timed(instance.repeats, () =>
    sor.getSwaps(instance.given, instance.taken, SwapTypes.SwapExactIn, amount, options)
  );
  const swaps = found.swaps.map((swap) => ({
    pool: swap.poolId,
    given: found.tokenAddresses[swap.assetInIndex],
    taken: found.tokenAddresses[swap.assetOutIndex],
    amount: swap.amount,
  }));
  return { ms, output: found.returnAmount.toString(), swaps };
}

answer(route);
