# ruff: noqa: E501 - lines of PHP and XML stay whole
"""Small made-up ManiReports trees, as earlier versions looked, and the means to read what came out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

VERSION = "<?php\n$plugin->component = 'local_manireports';\n$plugin->version = 2024111704;\n$plugin->requires = 2022041900;\n$plugin->maturity = MATURITY_BETA;\n$plugin->release = 'v1.0';\n"

INSTALL = """<?xml version="1.0" encoding="UTF-8" ?>
<XMLDB PATH="local/manireports/db" VERSION="20241117" COMMENT="Theirs">
  <TABLES>
    <TABLE NAME="manireports_schedules" COMMENT="Schedules">
      <FIELDS>
        <FIELD NAME="id" TYPE="int" LENGTH="10" NOTNULL="true" SEQUENCE="true"/>
      </FIELDS>
      <KEYS><KEY NAME="primary" TYPE="primary" FIELDS="id"/></KEYS>
    </TABLE>
    <TABLE NAME="manireports_cloud_jobs" COMMENT="Jobs">
      <FIELDS>
        <FIELD NAME="id" TYPE="int" LENGTH="10" NOTNULL="true" SEQUENCE="true"/>
        <FIELD NAME="type" TYPE="char" LENGTH="50" NOTNULL="true" SEQUENCE="false"/>
      </FIELDS>
      <KEYS><KEY NAME="primary" TYPE="primary" FIELDS="id"/></KEYS>
    </TABLE>
    <TABLE NAME="manireports_cloud_recip" COMMENT="Recipients">
      <FIELDS>
        <FIELD NAME="id" TYPE="int" LENGTH="10" NOTNULL="true" SEQUENCE="true"/>
      </FIELDS>
      <KEYS><KEY NAME="primary" TYPE="primary" FIELDS="id"/></KEYS>
    </TABLE>
  </TABLES>
</XMLDB>
"""

GUARD = "<?php\ndefined('MOODLE_INTERNAL') || die();\n"

UPGRADE = (
    GUARD
    + """
/**
 * Upgrades.
 */
function xmldb_local_manireports_upgrade($oldversion) {
    if ($oldversion < 2024111701) {
        // upgrade_plugin_savepoint() in a comment stays.
        upgrade_plugin_savepoint(true, 2024111701, 'local', 'manireports');
    }
    return true;
}
"""
)

DASHBOARD = """<?php
require_once(__DIR__ . '/../../../config.php');
if (optional_param('action', '', PARAM_ALPHA) === 'savesettings' && confirm_sesskey()) {
    $settings = new stdClass();
    if ($settings) {
        $DB->insert_record('manireports_cloud_conf', $settings);
    }
}
?>
<form method="get"><input name="companyid"></form>
<form method="post"><input name="action" value="savesettings"><input value="<?php echo $secret; ?>"></form>
"""

FILES = {
    "version.php": VERSION,
    "db/install.xml": INSTALL,
    "db/upgrade.php": UPGRADE,
    "db/access.php": GUARD
    + "$capabilities = array(\n    'local/manireports:viewadmindashboard' => array(\n"
    "        'captype' => 'read', 'contextlevel' => 10, 'archetypes' => array()),\n);\n",
    "db/tasks.php": GUARD
    + "$tasks = array(\n    array(\n        'classname' => 'local_manireports\\task\\cleanup',\n"
    "        'blocking' => 0),\n);\n",
    "db/services.php": GUARD
    + "$functions = [\n    'local_manireports_get_data' => ['classname' => 'x', 'methodname' => 'y'],\n];\n",
    "db/events.php": GUARD
    + "$observers = array(\n    // A user.\n    array(\n        'eventname' => '\\core\\event\\user_created',\n"
    "        'callback' => '\\local_manireports\\api\\EmailOffloadHandler::handle_user_created',\n    ),\n"
    "    array(\n        'eventname' => '\\core\\event\\course_viewed',\n"
    "        'callback' => '\\local_manireports\\api\\tracker::seen',\n    ),\n);\n",
    "lang/en/local_manireports.php": GUARD
    + "$string['pluginname'] = 'ManiReports';\n// $string['ghost'] = 'x';\n$string['dashboard'] = 'It\\'s; a \"dashboard\"';\n",
    "lang/da/local_manireports.php": GUARD + "$string['pluginname'] = 'ManiReports';\n",
    "lib.php": GUARD
    + "function local_manireports_extend_navigation(global_navigation $navigation) {\n}\n"
    "function local_manireports_before_footer() {\n}\n",
    "settings.php": GUARD
    + "if ($hassiteconfig) {\n    $page = new admin_settingpage('local_manireports_settings', 'x');\n}\n",
    "classes/privacy/provider.php": "<?php\nnamespace local_manireports\\privacy;\n"
    "class provider implements \\core_privacy\\local\\metadata\\provider {\n"
    "    public static function get_metadata(\\core_privacy\\local\\metadata\\collection $c):"
    " \\core_privacy\\local\\metadata\\collection {\n        return $c;\n    }\n}\n",
    "classes/api/EmailOffloadHandler.php": "<?php\nclass EmailOffloadHandler {}\n",
    "classes/api/CloudJobManager.php": "<?php\n// Uses manireports_cloud_recip.\n",
    "classes/api/connectors/AwsConnector.php": "<?php\nclass AwsConnector {}\n",
    "classes/output/cloud_offload_data_loader.php": "<?php\n$t = 'manireports_cloud_conf';\n",
    "designs/dashboard.php": DASHBOARD,
    "ui/broken_path.php": "<?php\nrequire_once(__DIR__ . '/../../../../config.php');\n",
    "ajax_job_details.php": "<?php\n",
    "cloud_callback.php": "<?php\n",
    "cloud_workers/aws/lambda_handler.py": "print(1)\n",
    "README.md": "Theirs\n",
    "styles.css": ".theirs {}\n",
}


def plant(folder: Path, files: dict[str, str]) -> Path:
    """Writes the files; the folder."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder


READ = """
define('MOODLE_INTERNAL', true);
foreach (['CONTEXT_SYSTEM', 'RISK_PERSONAL', 'RISK_SPAM', 'RISK_CONFIG', 'RISK_XSS', 'RISK_DATALOSS', 'CAP_ALLOW',
          'MESSAGE_PERMITTED', 'MESSAGE_DEFAULT_ENABLED', 'MESSAGE_DEFAULT_LOGGEDIN', 'MESSAGE_DEFAULT_LOGGEDOFF',
          'MATURITY_BETA', 'MATURITY_STABLE'] as $at => $name) {
    defined($name) || define($name, 1 << $at);
}
$plugin = new stdClass();
require($argv[1]);
echo json_encode(array_diff_key(get_defined_vars(), array_flip(
    ['argv', 'argc', 'at', 'name', '_GET', '_POST', '_COOKIE', '_FILES', '_SERVER', '_ENV', '_REQUEST'])));
"""


def php_variables(path: Path) -> dict[str, object]:
    """What a file that fills arrays leaves behind, as PHP sees it."""
    done = subprocess.run(
        [
            "php",
            "-d",
            "error_reporting=-1",
            "-d",
            "display_errors=stderr",
            "-r",
            READ,
            "--",
            str(path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found
