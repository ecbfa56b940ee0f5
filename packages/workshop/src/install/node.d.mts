/** The Node that the scripts and tests run on; npm installs it beside the other packages. */
export declare const NEEDED: number
