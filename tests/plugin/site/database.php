<?php
// The calls of Moodle's $DB that our plugin makes, over mysqli; the same signatures, the same exceptions.

class dml_exception extends Exception {
}

class dml_write_exception extends dml_exception {
}

class site_database {
    private mysqli $link;

    public function __construct(array $where) {
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $this->link = new mysqli($where['host'], 'root', '', $where['name'], $where['port']);
        $this->link->set_charset('utf8mb4');
    }

    public function get_records_select(
        string $table,
        string $select,
        array $params = [],
        string $sort = '',
        string $fields = '*',
        int $from = 0,
        int $number = 0
    ): array {
        $sql = "SELECT $fields FROM {{$table}} WHERE $select";
        $sql .= ($sort ? " ORDER BY $sort" : '') . ($number ? " LIMIT $from, $number" : '');
        $found = [];
        foreach ($this->run($sql, $params)->fetch_all(MYSQLI_ASSOC) as $row) {
            $found[reset($row)] = (object)$row;
        }
        return $found;
    }

    public function record_exists(string $table, array $conditions): bool {
        $select = implode(' AND ', array_map(fn($name) => "$name = :$name", array_keys($conditions)));
        return (bool)$this->run("SELECT 1 FROM {{$table}} WHERE $select LIMIT 1", $conditions)->num_rows;
    }

    public function get_field(string $table, string $field, array $conditions) {
        $select = implode(' AND ', array_map(fn($name) => "$name = :$name", array_keys($conditions)));
        $row = $this->run("SELECT $field FROM {{$table}} WHERE $select LIMIT 1", $conditions)->fetch_row();
        return $row ? $row[0] : false;
    }

    public function insert_record(string $table, stdClass $record, bool $returnid = true) {
        $values = (array)$record;
        $names = array_keys($values);
        $sql = "INSERT INTO {{$table}} (" . implode(', ', $names) . ') VALUES (:' . implode(', :', $names) . ')';
        $this->run($sql, $values, true);
        return $returnid ? $this->link->insert_id : true;
    }

    public function update_record(string $table, stdClass $record): bool {
        $names = array_diff(array_keys((array)$record), ['id']);
        $set = implode(', ', array_map(fn($name) => "$name = :$name", $names));
        $this->run("UPDATE {{$table}} SET $set WHERE id = :id", (array)$record, true);
        return true;
    }

    private function run(string $sql, array $params, bool $writes = false) {
        $values = [];
        $sql = preg_replace('/\{(\w+)\}/', 'mdl_$1', $sql);
        $sql = preg_replace_callback('/:(\w+)/', function (array $match) use ($params, &$values): string {
            $values[] = $params[$match[1]];
            return '?';
        }, $sql);
        try {
            $statement = $this->link->prepare($sql);
            $statement->execute($values);
            return $statement->get_result();
        } catch (mysqli_sql_exception $error) {
            throw $writes ? new dml_write_exception($error->getMessage()) : new dml_exception($error->getMessage());
        }
    }
}
