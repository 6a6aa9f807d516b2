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

namespace local_manireports\cloud;

/**
 * Who this site is, for the sidecar: the one row of manireports_cloud_sidecar.
 *
 * The sidecar's own `schema --create` makes the same row (sidecar/identity.py, sidecar/store/site.py).
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class identity {
    /** @var int version of the tables; equals SCHEMA_VERSION of sidecar/store/tables.py */
    public const SCHEMA_VERSION = 2;

    /** @var int[] ports where config.php names none, by kind of server */
    private const PORTS = ['mysql' => 3306, 'postgres' => 5432];

    /**
     * Gives the site its random id, unless it has one.
     */
    public static function ensure(): void {
        global $DB;
        if ($DB->record_exists('manireports_cloud_sidecar', [])) {
            return;
        }
        $DB->insert_record('manireports_cloud_sidecar', (object)[
            'site_uid' => bin2hex(random_bytes(16)),
            'fingerprint' => self::fingerprint(),
            'state' => json_encode(['schema' => self::SCHEMA_VERSION]),
        ]);
    }

    /**
     * SHA-256 over what a copied site changes: wwwroot, database host and name.
     *
     * IOMAD gives a company its own wwwroot while it is asked for by that name; the site's own counts.
     */
    public static function fingerprint(): string {
        global $CFG, $DB;
        $family = $DB->get_dbfamily();
        $options = (array)($CFG->dboptions ?? []);
        $host = (string)$CFG->dbhost;
        if ($family === 'mysql' && $host === '') {
            $host = 'localhost';
        }
        $socket = $options['dbsocket'] ?? '';
        if ($family === 'postgres' && in_array($host, ['localhost', '127.0.0.1'], true) && !empty($socket)) {
            $host = str_contains((string)$socket, '/') ? (string)$socket : '';
        }
        $port = empty($options['dbport']) ? (self::PORTS[$family] ?? 3306) : (int)$options['dbport'];
        $wwwroot = rtrim($CFG->wwwrootdefault ?? $CFG->wwwroot, '/');
        return hash('sha256', implode("\x1f", [$wwwroot, "$host:$port", (string)$CFG->dbname]));
    }
}
