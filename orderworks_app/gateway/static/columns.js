// The columns of each kind of import, and a guess which columns of a file they are.

/** By kind: each column, whether it is required, and other names of it in lower case. */
export const COLUMNS = {
  orders: [
    { name: "id", required: true, names: ["orderid", "orderkey", "order", "orderno", "ordernumber"] },
    { name: "customer_id", required: true, names: ["customer", "custid", "custkey", "customerkey", "clientid"] },
    { name: "total", required: true, names: ["amount", "totalprice", "totalamount", "price", "sum", "value"] },
    { name: "status", names: ["orderstatus", "state"] },
    { name: "created_at", names: ["created", "orderdate", "date", "orderedat", "placedat"] },
    { name: "updated_at", names: ["updated", "modified", "modifiedat", "changedat"] },
    { name: "version", names: ["revision", "sequence"] },
  ],
  customers: [
    { name: "id", required: true, names: ["customerid", "custid", "custkey", "customer", "customerkey"] },
    { name: "name", required: true, names: ["customername", "fullname", "company"] },
    { name: "email", names: ["mail", "emailaddress"] },
    { name: "phone", names: ["telephone", "tel", "phonenumber"] },
    { name: "version", names: ["revision", "sequence"] },
  ],
};

/** The kind whose required columns are best matched by these. */
export function likelyKind(columns) {
  const missing = (kind) => {
    const mapping = likelyMapping(kind, columns);
    return COLUMNS[kind].filter((column) => column.required && !mapping[column.name]).length;
  };
  return missing("customers") < missing("orders") ? "customers" : "orders";
}

/** The file's column for each target that can be guessed. */
export function likelyMapping(kind, columns) {
  const mapping = {};
  for (const { name, names } of COLUMNS[kind]) {
    const candidates = [normalized(name), ...names];
    const own = columns.includes(name) ? name : undefined;
    const match = own ?? candidates.map((each) => columns.find((column) => normalized(column) === each)).find(Boolean);
    if (match) mapping[name] = match;
  }
  return mapping;
}

/** A name without case, blanks and dashes, and a prefix such as `o_`. */
function normalized(name) {
  return name.toLowerCase().replace(/^[a-z]_/, "").replace(/[^a-z0-9]/g, "");
}
