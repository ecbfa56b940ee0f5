/* What checks tokens, in a file of its own in what is deployed: a process whose policy trusts no issuer never loads it. */
export { errors, importJWK, type JWK, jwtVerify } from 'jose'
