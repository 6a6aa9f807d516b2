<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports\cloud\upgrade;

use xmldb_field;
use xmldb_file;
use xmldb_index;
use xmldb_table;

/**
 * Brings our tables to what install.xml says, whatever is there: nothing, some of them, or earlier forms.
 *
 * Each step looks first, so that it may be repeated after an interruption.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class tables {
    /** @var string with this begin the names of our tables */
    private const PREFIX = 'manireports_cloud_';

    /** @var array indexes of the earlier version that ours replace: table => column */
    private const EARLIER_INDEXES = [
        'manireports_cloud_jobs' => 'company_id',
        'manireports_cloud_recipients' => 'job_id',
        'manireports_cloud_company_settings' => 'company_id',
    ];

    /**
     * Makes what is missing and changes what differs.
     */
    public static function ensure(): void {
        global $DB;
        $dbman = $DB->get_manager();
        foreach (self::defined() as $table) {
            if (!$dbman->table_exists($table)) {
                $dbman->create_table($table);
                continue;
            }
            self::drop_earlier_index($table->getName());
            self::columns($table, $table->getName());
            foreach ($table->getIndexes() as $index) {
                if (!$dbman->index_exists($table, $index)) {
                    $dbman->add_index($table, $index);
                }
            }
        }
    }

    /**
     * Gives a table the columns that another has by install.xml.
     *
     * @param string $name the table, without prefix
     * @param string $like name of one of our tables
     */
    public static function columns_like(string $name, string $like): void {
        foreach (self::defined() as $table) {
            if ($table->getName() === $like) {
                self::columns($table, $name);
            }
        }
    }

    /**
     * Our tables as install.xml describes them.
     *
     * @return xmldb_table[]
     */
    public static function defined(): array {
        global $CFG;
        require_once($CFG->libdir . '/ddllib.php');
        $file = new xmldb_file(dirname(__DIR__, 3) . '/db/install.xml');
        if (!$file->loadXMLStructure()) {
            throw new \ddl_exception('ddlxmlfileerror', null, 'local/manireports/db/install.xml');
        }
        return array_filter(
            $file->getStructure()->getTables(),
            fn(xmldb_table $table): bool => str_starts_with($table->getName(), self::PREFIX)
        );
    }

    /**
     * Drops the index that the earlier version's foreign key made, if it is there.
     *
     * @param string $name a table that exists, without prefix
     */
    public static function drop_earlier_index(string $name): void {
        global $DB;
        $column = self::EARLIER_INDEXES[$name] ?? null;
        if ($column === null) {
            return;
        }
        foreach ($DB->get_indexes($name) as $index) {
            if ($index['columns'] === [$column] && !$index['unique']) {
                $DB->get_manager()->drop_index(
                    new xmldb_table($name),
                    new xmldb_index('earlier', XMLDB_INDEX_NOTUNIQUE, [$column])
                );
            }
        }
    }

    /**
     * Adds the columns that a table lacks and changes those that differ.
     *
     * @param xmldb_table $defined how they shall be
     * @param string $name the table, without prefix
     */
    private static function columns(xmldb_table $defined, string $name): void {
        global $DB;
        $dbman = $DB->get_manager();
        $table = new xmldb_table($name);
        $there = $DB->get_columns($name, false);
        foreach ($defined->getFields() as $field) {
            if (!isset($there[$field->getName()])) {
                $dbman->add_field($table, $field);
            } else if (self::differs($field, $there[$field->getName()])) {
                self::make_fit($name, $field);
                $dbman->change_field_type($table, $field);
            }
        }
    }

    /**
     * Whether a column is not as it shall be, by the rules of check_database_schema.
     *
     * @param xmldb_field $field how it shall be
     * @param \database_column_info $column how it is
     */
    private static function differs(xmldb_field $field, \database_column_info $column): bool {
        $types = ['I' => XMLDB_TYPE_INTEGER, 'R' => XMLDB_TYPE_INTEGER, 'C' => XMLDB_TYPE_CHAR, 'X' => XMLDB_TYPE_TEXT];
        if (($types[$column->meta_type] ?? null) !== $field->getType()) {
            return true;
        }
        if ($field->getType() === XMLDB_TYPE_CHAR) {
            $length = $field->getLength() != $column->max_length;
        } else {
            $length = $field->getType() === XMLDB_TYPE_INTEGER && min(18, $field->getLength()) > $column->max_length;
        }
        return $length || $field->getNotNull() != $column->not_null || $field->getDefault() != $column->default_value;
    }

    /**
     * Changes values that a column is about to refuse: NULL where that is not allowed any more, and texts that are too long.
     *
     * @param string $name the table, without prefix
     * @param xmldb_field $field how the column shall be
     */
    private static function make_fit(string $name, xmldb_field $field): void {
        global $DB;
        $column = $field->getName();
        if ($field->getNotNull()) {
            $value = $field->getDefault() ?? ($field->getType() === XMLDB_TYPE_INTEGER ? 0 : '');
            $DB->set_field_select($name, $column, $value, "$column IS NULL");
        }
        if ($field->getType() === XMLDB_TYPE_CHAR) {
            $long = $DB->sql_length($column) . ' > :length';
            $DB->set_field_select($name, $column, '', $long, ['length' => $field->getLength()]);
        }
    }
}
