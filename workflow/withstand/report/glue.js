// Tables sort and filter by DataTables, which is started when the first of them comes near; without it they are plain tables.
const LONG = 60;

let library;
function dataTables() {
  library ??= (async () => {
    const source = JSON.parse(document.getElementById("datatables").textContent);
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    return (await import(url)).default;
  })();
  return library;
}

async function enhance(table) {
  const DataTable = await dataTables();
  const paging = Number(table.dataset.rows) > LONG;
  new DataTable(table, {
    order: [],
    autoWidth: false,
    paging,
    pageLength: 25,
    lengthMenu: [25, 100, { label: "all", value: -1 }],
    info: paging,
    layout: {
      topStart: paging ? "pageLength" : null,
      topEnd: "search",
      bottomStart: paging ? "info" : null,
      bottomEnd: paging ? "paging" : null,
    },
    language: { search: "Filter", lengthMenu: "Rows _MENU_", zeroRecords: "No row has this text." },
  });
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    near.unobserve(entry.target);
    enhance(entry.target);
  }
}, { rootMargin: "600px" });
document.querySelectorAll("table").forEach((table) => near.observe(table));

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const reading = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    links.forEach((link, id) => link.toggleAttribute("aria-current", id === entry.target.id));
  }
}, { rootMargin: "-10% 0px -80% 0px" });
document.querySelectorAll("main > section").forEach((part) => reading.observe(part));

addEventListener("beforeprint", async () => {
  if (library) (await library).tables({ api: true }).page.len(-1).draw();
  document.querySelectorAll("details").forEach((each) => (each.open = true));
});
