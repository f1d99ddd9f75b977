// Sorting: a click on a heading sorts the rows of its table by data-value; a second click turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const numeric = heading.classList.contains("number");
    const rows = Array.from(body.rows).sort((a, b) =>
      numeric ? Number(value(a)) - Number(value(b)) : value(a).localeCompare(value(b)));
    body.append(...(rising ? rows : rows.reverse()));
  });
}
