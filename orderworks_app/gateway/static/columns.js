// The columns that a file of each kind may fill, and which of a file's columns they likely are.

/** By kind: each column with whether it is needed and by what names others call it. */
export const COLUMNS = {
  orders: [
    { name: "id", needed: true, names: ["orderid", "orderkey", "order", "orderno", "ordernumber"] },
    { name: "customer_id", needed: true, names: ["customer", "custid", "custkey", "customerkey", "clientid"] },
    { name: "total", needed: true, names: ["amount", "totalprice", "totalamount", "price", "sum", "value"] },
    { name: "status", names: ["orderstatus", "state"] },
    { name: "created_at", names: ["created", "orderdate", "date", "orderedat", "placedat"] },
    { name: "updated_at", names: ["updated", "modified", "modifiedat", "changedat"] },
    { name: "version", names: ["revision", "sequence"] },
  ],
  customers: [
    { name: "id", needed: true, names: ["customerid", "custid", "custkey", "customer", "customerkey"] },
    { name: "name", needed: true, names: ["customername", "fullname", "company"] },
    { name: "email", names: ["mail", "emailaddress"] },
    { name: "phone", names: ["telephone", "tel", "phonenumber"] },
    { name: "version", names: ["revision", "sequence"] },
  ],
};

/** Which kind of file has columns like these. */
export function likelyKind(columns) {
  const missing = (kind) => {
    const found = likelyMapping(kind, columns);
    return COLUMNS[kind].filter((column) => column.needed && !found[column.name]).length;
  };
  return missing("customers") < missing("orders") ? "customers" : "orders";
}

/** Target to the file's column, for those that one can tell. */
export function likelyMapping(kind, columns) {
  const mapping = {};
  for (const { name, names } of COLUMNS[kind]) {
    const known = [plain(name), ...names];
    const own = columns.includes(name) ? name : undefined;
    const found = own ?? known.map((each) => columns.find((column) => plain(column) === each)).find(Boolean);
    if (found) mapping[name] = found;
  }
  return mapping;
}

/** A name without what differs by habit: case, blanks and dashes, and a prefix such as `o_`. */
function plain(name) {
  return name.toLowerCase().replace(/^[a-z]_/, "").replace(/[^a-z0-9]/g, "");
}
