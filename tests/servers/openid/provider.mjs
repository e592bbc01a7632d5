// A certified OpenID provider on loopback, with its own login and consent forms, and five people.
// node provider.mjs MODULE ISSUER REDIRECT_URI: prints one line once it listens. New keys with every start.
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [module, issuer, redirectUri] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(module));

const PEOPLE = {
  ann: { name: 'Ann Operator', email: 'ann@example.com', groups: ['staff', 'llm-operators'] },
  ben: { name: 'Ben Viewer', groups: 'llm-viewers' },
  cleo: { name: 'Cleo <b>Nobody</b>', groups: ['staff'] },
  dan: { email: 'dan@example.com', groups: ['llm-operators'] },
  eva: { groups: ['llm-viewers'] },
};
const ONLY_USERINFO = new Set(['eva', 'dan']);

function account(ctx, id) {
  return {
    accountId: id,
    claims: (use) => (use === 'id_token' && ONLY_USERINFO.has(id) ? { sub: id } : { sub: id, ...PEOPLE[id] }),
  };
}

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  clients: [{ client_id: 'canary', client_secret: 'openid-client-secret', redirect_uris: [redirectUri] }],
  claims: { openid: ['sub'], profile: ['name'], email: ['email'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  conformIdTokenClaims: false,
  cookies: { keys: ['cookies-of-the-tests'] },
  findAccount: account,
  jwks: { keys: [privateKey.export({ format: 'jwk' })] },
  pkce: { required: () => true },
});

const { port } = new URL(issuer);
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
